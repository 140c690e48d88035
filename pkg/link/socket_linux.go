package link

import (
	"golang.org/x/sys/unix"
)

// canWatch says that the system can report a hang-up without a read.
const canWatch = true

// hasHangUp reports whether the peer has closed its end. It consumes nothing, and works with unread bytes in the buffer.
func hasHangUp(fd uintptr) bool { return poll(fd, unix.POLLRDHUP) }

// hasInput reports whether anything at all, bytes or an end, waits to be read.
func hasInput(fd uintptr) bool { return poll(fd, unix.POLLIN|unix.POLLRDHUP) }

func poll(fd uintptr, events int16) bool {
	fds := [1]unix.PollFd{{Fd: int32(fd), Events: events}}
	n, err := unix.Poll(fds[:], 0)
	return err == nil && n > 0 // POLLHUP and POLLERR are always reported
}
