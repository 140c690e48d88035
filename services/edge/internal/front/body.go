package front

import (
	"io"

	"github.com/culvert-tunnel/culvert/pkg/transport"
	"github.com/culvert-tunnel/culvert/pkg/wire/stream"
)

// layout is the encoding of a response's body on the stream (docs/extensions.md).
type layout int

const (
	layoutPlain layout = iota
	layoutFrames
	layoutNone
)

// layoutOf reads the layout from a response's metadata. It reports false for a layout that was not offered.
func layoutOf(md []stream.Pair, framesAccepted bool) (layout, bool) {
	switch val, ok := stream.Lookup(md, stream.KeyBody); {
	case !ok:
		return layoutPlain, true
	case !framesAccepted:
		return layoutPlain, false
	case val == stream.BodyFrames:
		return layoutFrames, true
	case val == stream.BodyNone:
		return layoutNone, true
	default:
		return layoutPlain, false
	}
}

// responseBody reads the body of a response from its stream and removes the frames.
type responseBody struct {
	st  transport.Stream
	buf []byte
	// frames is nil for a plain body.
	frames *stream.Deframer
}

// strip returns the data among bytes that were read. fin says that nothing follows. An error means that the frames are
// malformed.
func (b *responseBody) strip(raw []byte, fin bool) ([]byte, error) {
	if b.frames == nil {
		return raw, nil
	}
	n, err := b.frames.Strip(raw)
	if err == nil && fin {
		err = b.frames.End()
	}
	return raw[:n], err
}

// next waits for more data. fin says that nothing follows.
func (b *responseBody) next() (data []byte, fin bool, err error) {
	n, err := b.st.Read(b.buf)
	fin = err == io.EOF //nolint:errorlint // the bare value is the contract of io.Reader
	if err != nil && !fin {
		return nil, false, err
	}
	data, err = b.strip(b.buf[:n], fin)
	return data, fin, err
}

// trailers returns the trailers of a body that has ended.
func (b *responseBody) trailers() []stream.Pair {
	if b.frames == nil {
		return nil
	}
	return b.frames.Trailers()
}
