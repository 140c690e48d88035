package host

import (
	"time"

	"golang.org/x/sys/unix"
)

// monotonic reads the clock that systemd reads, which counts from the start of the machine.
func monotonic() (time.Duration, error) {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		return 0, err
	}
	return time.Duration(now.Nano()), nil
}
