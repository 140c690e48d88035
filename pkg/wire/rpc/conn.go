package rpc

import "io"

// Stream is what StreamConn needs of a transport's stream; transport.Stream has it.
type Stream interface {
	io.ReadWriter
	CloseWrite() error
	CancelRead(code uint64)
}

// StreamConn turns a stream with two directions into the byte stream that clients and servers take: Close stops
// reading with code 0 and ends the writing side with FIN (spec/wire.md 7.2).
func StreamConn(s Stream) io.ReadWriteCloser { return streamConn{s} }

type streamConn struct{ Stream }

func (s streamConn) Close() error {
	s.CancelRead(0)
	return s.CloseWrite()
}
