package rpc

import (
	"io"
	"sync"
)

// Stream has the methods that StreamConn needs; every transport.Stream has them.
type Stream interface {
	io.ReadWriter
	CloseWrite() error
	CancelRead(code uint64)
	CancelWrite(code uint64)
}

// noError is the only application code that the wire uses.
const noError = 0

// StreamConn adapts a stream to the io.ReadWriteCloser that clients and servers need. Close stops reading with code 0 and
// ends the writing side with FIN (docs/spec/wire.md 7.2). If a write blocks because the peer does not read, Close resets the
// writing side instead, so it never blocks.
func StreamConn(s Stream) io.ReadWriteCloser { return &streamConn{stream: s} }

type streamConn struct {
	stream Stream
	// writing is held during a write.
	writing sync.Mutex
}

func (s *streamConn) Read(b []byte) (int, error) { return s.stream.Read(b) }

func (s *streamConn) Write(b []byte) (int, error) {
	s.writing.Lock()
	defer s.writing.Unlock()
	return s.stream.Write(b)
}

func (s *streamConn) Close() error {
	s.stream.CancelRead(noError)
	if !s.writing.TryLock() {
		s.stream.CancelWrite(noError)
		return nil
	}
	defer s.writing.Unlock()
	return s.stream.CloseWrite()
}
