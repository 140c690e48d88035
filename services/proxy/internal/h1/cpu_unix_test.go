//go:build unix

package h1_test

import (
	"syscall"
	"time"
)

// cpuTime is the time this process has spent on a processor.
func cpuTime() time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
