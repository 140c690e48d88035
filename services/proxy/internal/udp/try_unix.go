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

// rawReceiver gives a function that waits for one datagram and passes it on. It takes a buffer when there is something to read, and gives
// it back before it waits.
func rawReceiver(raw syscall.RawConn) func(take func(p []byte)) error {
	var (
		n   int
		err error
		buf *[receiveSize]byte
	)
	once := func(fd uintptr) (done bool) {
		buf = buffers.Get().(*[receiveSize]byte) //nolint:forcetypeassert // nothing else is in it
		for {
			if n, err = syscall.Read(int(fd), buf[:]); !errors.Is(err, syscall.EINTR) {
				break
			}
		}
		if errors.Is(err, syscall.EAGAIN) {
			buffers.Put(buf)
			return false // wait
		}
		return true
	}
	return func(take func(p []byte)) error {
		if err := raw.Read(once); err != nil {
			return err
		}
		defer buffers.Put(buf)
		if err == nil {
			take(buf[:n])
		}
		return err
	}
}
