package udp

import (
	"net"
	"sync"
	"syscall"
)

// receiveSize is room for the largest datagram of an origin.
const receiveSize = 64 << 10

// buffers are for datagrams that are being received. A session that waits for one holds none: there are thousands of sessions, and a
// datagram may be large.
var buffers = sync.Pool{New: func() any { return new([receiveSize]byte) }} //nolint:gochecknoglobals // a cache

// receiver gives a function that waits for one datagram of a socket and passes it on. It is not safe for concurrent use.
func receiver(conn net.Conn) func(take func(p []byte)) error {
	if sc, ok := conn.(syscall.Conn); ok {
		if raw, err := sc.SyscallConn(); err == nil {
			if receive := rawReceiver(raw); receive != nil {
				return receive
			}
		}
	}
	buf := make([]byte, receiveSize)
	return func(take func(p []byte)) error {
		n, err := conn.Read(buf)
		if err == nil {
			take(buf[:n])
		}
		return err
	}
}
