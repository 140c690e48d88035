package h2

import (
	"io"

	"github.com/culvert-tunnel/culvert/pkg/transport/h2/internal/mux"
	"github.com/culvert-tunnel/culvert/pkg/wire/h2head"
	"github.com/culvert-tunnel/culvert/pkg/wire/stream"
)

// body reads DATA and trailers and gives the body in the stream form: plain bytes, or frames.
type body struct {
	st     *mux.Stream
	framed bool
	over   bool   // DATA has ended: rest is all that is left
	rest   []byte // bytes of frames that did not fit the reader's buffer
}

// read gives bytes of the body, the last ones together with io.EOF. Without wait it gives 0, nil when there are none.
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
	if len(p) <= stream.FrameHeaderSize { // a frame does not fit
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
		if b.rest, err = stream.AppendTrailers(nil, h2head.DecodeTrailers(fields)); err != nil {
			b.st.Reset(mux.Internal)
			return n, err
		}
	}
	return b.leftover(p, n)
}

// leftover adds bytes that are left of the frames to the n bytes in p.
func (b *body) leftover(p []byte, n int) (int, error) {
	m := copy(p[n:], b.rest)
	if b.rest = b.rest[m:]; len(b.rest) == 0 && b.over {
		return n + m, io.EOF
	}
	return n + m, nil
}

// sink sends a body in the stream form as DATA and trailers. left is the number of bytes that a body of known length still lacks.
type sink struct {
	st     *mux.Stream
	framed bool
	left   int64
	frames stream.Deframer
}

// write sends p. In a body of known length the last byte carries END_STREAM, and bytes beyond the length are dropped.
func (s *sink) write(p []byte) (int, error) {
	switch {
	case s.framed:
		return s.deframe(p)
	case s.left == h2head.Unknown:
		return s.st.Write(p, false)
	case s.left == 0:
		return len(p), nil // beyond the declared length
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

// end ends the body, with trailers if the frames have some.
func (s *sink) end() error {
	if !s.framed {
		return s.st.CloseWrite(nil)
	}
	if err := s.frames.End(); err != nil {
		s.st.Reset(mux.Internal)
		return err
	}
	return s.st.CloseWrite(h2head.EncodeTrailers(s.frames.Trailers()))
}
