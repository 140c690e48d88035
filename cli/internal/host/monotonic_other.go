//go:build !linux

package host

import (
	"errors"
	"time"
)

// monotonic is of no use: systemd runs on Linux only.
func monotonic() (time.Duration, error) { return 0, errors.ErrUnsupported }
