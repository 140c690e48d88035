//go:build unix

package catalog

import (
	"fmt"
	"os"
	"syscall"
)

// lockDir makes this process the directory's only owner until the file is closed.
func lockDir(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, fileMode)
	if err != nil {
		return nil, fmt.Errorf("data directory lock: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = f.Close() // the lock's error says it all
		return nil, fmt.Errorf("data directory lock %s: another edge uses it: %w", path, err)
	}
	return f, nil
}
