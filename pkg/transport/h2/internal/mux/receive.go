package mux

import (
	"io"
	"os"

	"golang.org/x/net/http2"
)

// The reading goroutine calls the functions of the first part.

// admit charges size bytes to the stream's window. It reports false for bytes that must be thrown away.
func (s *Stream) admit(size int) bool {
	s.rmu.Lock()
	s.recvWindow -= size
	over, late := s.recvWindow < 0, s.fin
	early := !s.foreign && !s.responded
	wanted := s.recvErr == nil && !s.discard
	s.rmu.Unlock()
	switch {
	case late:
		s.abort(http2.ErrCodeStreamClosed)
	case over:
		s.abort(http2.ErrCodeFlowControl)
	case early:
		s.abort(http2.ErrCodeProtocol)
	}
	return wanted && !over && !late && !early
}

// padding counts padding as read.
func (s *Stream) padding(n int) {
	s.rmu.Lock()
	grant := s.consumedLocked(n)
	s.rmu.Unlock()
	if grant > 0 {
		s.c.grantStream(s.id, grant)
	}
}

// dropped accounts for size bytes of data that were thrown away.
func (s *Stream) dropped(size int, end bool) {
	back := 0
	s.rmu.Lock()
	if s.discard && !end {
		if s.unacked += size; s.unacked >= s.window/2 {
			back, s.unacked = s.unacked, 0
			s.recvWindow += back
		}
	}
	s.rmu.Unlock()
	if back > 0 {
		s.c.grantStream(s.id, back)
	}
	if end {
		s.finish(nil)
	}
}

// deliver appends one block of data to the stream's queue.
func (s *Stream) deliver(b *block, end bool) {
	s.rmu.Lock()
	if s.recvErr != nil {
		n := b.w
		s.c.blocks.put(b)
		s.rmu.Unlock()
		s.c.grant(n)
	} else {
		s.buf.push(b, &s.c.blocks)
		if !end {
			s.rcond.Signal()
		}
		s.rmu.Unlock()
	}
	if end {
		s.finish(nil)
	}
}

// finish notes that the peer has ended its direction, with trailers if there are any.
func (s *Stream) finish(trailers []Field) {
	s.rmu.Lock()
	if s.fin {
		s.rmu.Unlock()
		s.releaseAll()
		s.abort(http2.ErrCodeStreamClosed)
		return
	}
	s.fin, s.trailers = true, trailers
	headless := !s.foreign && !s.responded
	s.rcond.Broadcast()
	s.rmu.Unlock()
	if headless {
		s.abort(http2.ErrCodeProtocol)
		return
	}
	c := s.c
	c.mu.Lock()
	defer c.mu.Unlock()
	if s.finSent {
		s.forgetLocked()
	}
}

// more handles HEADERS on a stream that exists: those of an interim or final response, or trailers.
func (s *Stream) more(fields []Field, end bool) {
	s.rmu.Lock()
	if s.recvErr != nil { // no reader will take the fields
		s.releaseAll()
	}
	trailers := s.foreign || s.responded
	if !trailers {
		interim := len(fields) > 0 && fields[0].Name == ":status" && len(fields[0].Value) == 3 && fields[0].Value[0] == '1'
		switch {
		case interim && !end && len(s.heads) < maxInterim:
			s.heads = append(s.heads, fields)
		case interim:
			s.rmu.Unlock()
			s.abort(http2.ErrCodeProtocol)
			return
		default:
			s.responded = true
			s.heads = append(s.heads, fields)
		}
		s.rcond.Broadcast()
	}
	s.rmu.Unlock()
	switch {
	case trailers && !end, trailers && hasPseudo(fields):
		s.abort(http2.ErrCodeProtocol)
	case trailers:
		s.finish(fields)
	case end:
		s.finish(nil)
	}
}

func hasPseudo(fields []Field) bool {
	return len(fields) > 0 && len(fields[0].Name) > 0 && fields[0].Name[0] == ':'
}

// The stream's reader calls the functions of the second part.

// ReadHead waits for the header of the next response on a stream that we opened: any number of interim ones, then the final
// one.
func (s *Stream) ReadHead() ([]Field, error) {
	s.rmu.Lock()
	defer s.rmu.Unlock()
	for {
		switch {
		case len(s.heads) > 0:
			head := s.heads[0]
			s.heads[0] = nil
			s.heads = s.heads[1:]
			s.release(int64(sizeOf(head)))
			return head, nil
		case s.recvErr != nil:
			return nil, s.recvErr
		case s.fin:
			return nil, io.ErrUnexpectedEOF
		case s.readBy.expired:
			return nil, os.ErrDeadlineExceeded
		}
		s.rcond.Wait()
	}
}

// Read waits for bytes. The last ones come together with io.EOF, which only the peer's END_STREAM causes.
func (s *Stream) Read(p []byte) (int, error) { return s.read(p, true) }

// ReadNow is Read without waiting: it gives 0, nil when nothing is there.
func (s *Stream) ReadNow(p []byte) (int, error) { return s.read(p, false) }

func (s *Stream) read(p []byte, wait bool) (n int, err error) {
	s.rmu.Lock()
	for {
		switch {
		case s.recvErr != nil:
			err = s.recvErr
		case s.buf.size > 0:
			n = s.buf.pop(p, &s.c.blocks)
			if s.fin && s.buf.size == 0 {
				err = io.EOF
			}
		case s.fin:
			err = io.EOF
		case !wait:
		case s.readBy.expired:
			err = os.ErrDeadlineExceeded
		default:
			s.rcond.Wait()
			continue
		}
		break
	}
	grant := s.consumedLocked(n)
	s.rmu.Unlock()
	if err == io.EOF { //nolint:errorlint // the bare value is the contract of io.Reader
		s.releaseAll() // the trailers are the reader's now
	}
	s.c.grant(n)
	if grant > 0 {
		s.c.grantStream(s.id, grant)
	}
	return n, err
}

// consumedLocked gives the bytes to grant the peer again after n bytes were read. The window grows for a reader that keeps
// up with its peer, unless more than half of the connection's window is in use.
func (s *Stream) consumedLocked(n int) int {
	if s.unacked += n; s.fin || s.unacked < s.window/2 {
		return 0
	}
	grant := s.unacked
	s.unacked = 0
	if s.window < s.c.cfg.MaxStreamWindow && s.buf.size == 0 && s.c.recvWindow.Load() > s.c.window.Load()/2 {
		more := min(s.window, s.c.cfg.MaxStreamWindow-s.window)
		s.window += more
		grant += more
	}
	s.recvWindow += grant
	return grant
}

// Trailers gives the trailers. They are valid after io.EOF.
func (s *Stream) Trailers() []Field {
	s.rmu.Lock()
	defer s.rmu.Unlock()
	return s.trailers
}
