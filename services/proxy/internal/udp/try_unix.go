//go:build unix

package udp

import (
	"errors"
	"syscall"
)

// trier gives a function that writes to a socket without waiting. It is not safe for concurrent use, and allocates nothing
// per call.
func trier(raw syscall.RawConn) func(p []byte) error {
	var (
		buf []byte
		err error
	)
	once := func(fd uintptr) bool {
		for {
			_, err = syscall.Write(int(fd), buf)
			if !errors.Is(err, syscall.EINTR) {
				return true // whatever happened, do not wait
			}
		}
	}
	return func(p []byte) error {
		buf = p
		werr := raw.Write(once)
		buf = nil
		switch {
		case werr != nil:
			return werr
		case errors.Is(err, syscall.EAGAIN):
			return errWouldBlock
		default:
			return err
		}
	}
}
