//go:build unix

package link

import "syscall"

// readIdle waits for the first bytes of a flow without holding a buffer, and reads them.
func (f *frameReader) readIdle(raw syscall.RawConn, step func(fd uintptr) bool, result *idleRead) error {
	if raw == nil || step == nil {
		return f.readHeaderFirst()
	}
	*result = idleRead{}
	if err := raw.Read(step); err != nil {
		return err
	}
	if result.err != nil {
		return result.err
	}
	if result.n == 0 {
		return errIdleEOF
	}
	return nil
}

// idleStep is one attempt of readIdle: a buffer is taken for the time of a system call, and kept if it got bytes.
func (f *frameReader) idleStep(fd uintptr, result *idleRead) bool {
	b := f.bufs.get(smallBuffer)
	n, err := readNoIntr(int(fd), b.b)
	switch {
	case err == syscall.EAGAIN: //nolint:errorlint // a bare errno
		f.bufs.put(b)
		return false
	case err != nil || n <= 0:
		f.bufs.put(b)
		result.err = err
	default:
		b.w = n
		f.in, result.n = b, n
	}
	return true
}

func readNoIntr(fd int, b []byte) (int, error) {
	for {
		n, err := syscall.Read(fd, b)
		if err != syscall.EINTR {
			return n, err
		}
	}
}
