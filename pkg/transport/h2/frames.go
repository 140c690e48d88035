package h2

import (
	"io"
	"net/textproto"
	"strings"

	"github.com/culvert-tunnel/culvert/pkg/transport/h2/internal/mux"
	"github.com/culvert-tunnel/culvert/pkg/wire/stream"
)

// body reads DATA and trailers in the stream form: as they are, or as frames.
type body struct {
	st     *mux.Stream
	framed bool
	over   bool   // the end of the frames is in rest
	rest   []byte // of frames that did not fit the reader's buffer
}

// read gives bytes of the body; without wait, 0 and nil when there are none. The last ones come with io.EOF.
func (b *body) read(p []byte, wait bool) (int, error) {
	if b.framed {
		return b.readFrame(p, wait)
	}
	if wait {
		return b.st.Read(p)
	}
	return b.st.ReadNow(p)
}

func (b *body) readFrame(p []byte, wait bool) (int, error) {
	if len(b.rest) > 0 || b.over {
		return b.leftover(p, 0)
	}
	if len(p) <= stream.FrameHeaderSize { // no room for a frame
		if len(p) == 0 {
			return 0, nil
		}
		var small [64]byte
		n, err := b.readFrame(small[:], wait)
		b.rest = append(append([]byte(nil), small[:n]...), b.rest...)
		if err != nil && err != io.EOF { //nolint:errorlint // the bare value is the contract of io.Reader
			return 0, err
		}
		return b.leftover(p, 0)
	}
	read := b.st.ReadNow
	if wait {
		read = b.st.Read
	}
	n, err := read(p[stream.FrameHeaderSize:])
	if n > 0 {
		stream.AppendDataHeader(p[:0], n)
		n += stream.FrameHeaderSize
	}
	if err != io.EOF { //nolint:errorlint // the bare value is the contract of io.Reader
		return n, err
	}
	b.over = true
	if fields := b.st.Trailers(); len(fields) > 0 {
		if b.rest, err = stream.AppendTrailers(nil, toPairs(fields)); err != nil {
			b.st.Reset(mux.Internal)
			return n, err
		}
	}
	return b.leftover(p, n)
}

// leftover adds what is left of the frames to the n bytes in p.
func (b *body) leftover(p []byte, n int) (int, error) {
	m := copy(p[n:], b.rest)
	if b.rest = b.rest[m:]; len(b.rest) == 0 && b.over {
		return n + m, io.EOF
	}
	return n + m, nil
}

// toPairs are trailers in the stream form.
func toPairs(fields []mux.Field) []stream.Pair {
	pairs := make([]stream.Pair, 0, len(fields))
	for _, f := range fields {
		pairs = append(pairs, stream.Pair{Key: textproto.CanonicalMIMEHeaderKey(f.Name), Val: f.Value})
	}
	return pairs
}

// toFields are trailers on the wire.
func toFields(pairs []stream.Pair) []mux.Field {
	fields := make([]mux.Field, 0, len(pairs))
	for _, p := range pairs {
		name := strings.ToLower(p.Key)
		if name == "" || !isToken(name) || !isValue(p.Val) || ofOneHop(name) {
			continue
		}
		fields = append(fields, mux.Field{Name: name, Value: p.Val})
	}
	return fields
}

// sink writes a body in the stream form as DATA and trailers. left is what a body of known length still lacks.
type sink struct {
	st     *mux.Stream
	framed bool
	left   int64
	frames stream.Deframer
}

// write sends p. The last byte of a body of known length carries the end with it; what comes beyond is dropped.
func (s *sink) write(p []byte) (int, error) {
	switch {
	case s.framed:
		return s.deframe(p)
	case s.left == unknown:
		return s.st.Write(p, false)
	case s.left == 0:
		return len(p), nil // more than declared, which nobody wants
	}
	size := min(int64(len(p)), s.left)
	n, err := s.st.Write(p[:size], size == s.left)
	if s.left -= int64(n); err != nil {
		return n, err
	}
	return len(p), nil
}

func (s *sink) deframe(p []byte) (n int, err error) {
	for n < len(p) {
		data, used, err := s.frames.Next(p[n:])
		if err != nil {
			s.st.Reset(mux.Internal)
			return n, err
		}
		if len(data) > 0 {
			if _, err := s.st.Write(data, false); err != nil {
				return n, err
			}
		}
		n += used
	}
	return n, nil
}

// end ends the body.
func (s *sink) end() error {
	if !s.framed {
		return s.st.CloseWrite(nil)
	}
	if err := s.frames.End(); err != nil {
		s.st.Reset(mux.Internal)
		return err
	}
	return s.st.CloseWrite(toFields(s.frames.Trailers()))
}
