//go:build !unix

package link

import "syscall"

// readIdle waits for the first bytes of a flow without holding a buffer, and reads them.
func (f *frameReader) readIdle(syscall.RawConn, func(fd uintptr) bool, *idleRead) error {
	return f.readHeaderFirst()
}

func (f *frameReader) idleStep(uintptr, *idleRead) bool { return true }
