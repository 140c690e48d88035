package front

import (
	"io"

	"github.com/culvert-tunnel/culvert/pkg/transport"
	"github.com/culvert-tunnel/culvert/pkg/wire/stream"
)

// layout is how the body of an answer is laid out (docs/extensions.md).
type layout int

const (
	layoutPlain layout = iota
	layoutFrames
	layoutNone
)

// layoutOf reports false for a layout that was not asked for.
func layoutOf(md []stream.Pair, frames bool) (layout, bool) {
	switch val, ok := stream.Lookup(md, stream.KeyBody); {
	case !ok:
		return layoutPlain, true
	case !frames:
		return layoutPlain, false
	case val == stream.BodyFrames:
		return layoutFrames, true
	case val == stream.BodyNone:
		return layoutNone, true
	default:
		return layoutPlain, false
	}
}

// answerBody reads the body of an answer from its stream, with the frames taken off.
type answerBody struct {
	st  transport.Stream
	buf []byte
	// frames is nil for a plain body.
	frames *stream.Deframer
}

// take gives the data among bytes that were read; fin says that nothing follows. An error means that the frames are no
// frames.
func (b *answerBody) take(raw []byte, fin bool) ([]byte, error) {
	if b.frames == nil {
		return raw, nil
	}
	n, err := b.frames.Strip(raw)
	if err == nil && fin {
		err = b.frames.End()
	}
	return raw[:n], err
}

// next waits for more; fin says that nothing follows.
func (b *answerBody) next() (data []byte, fin bool, err error) {
	n, err := b.st.Read(b.buf)
	fin = err == io.EOF //nolint:errorlint // the bare value is the contract of io.Reader
	if err != nil && !fin {
		return nil, false, err
	}
	data, err = b.take(b.buf[:n], fin)
	return data, fin, err
}

// trailers are there once the body came to its end.
func (b *answerBody) trailers() []stream.Pair {
	if b.frames == nil {
		return nil
	}
	return b.frames.Trailers()
}
