//go:build unix

package rundir

import (
	"os"
	"syscall"
)

// IsPrivate reports whether path is a directory, no symbolic link, that belongs to this user and that no other user may
// change.
func IsPrivate(path string) bool {
	info, err := os.Lstat(path)
	if err != nil || !info.IsDir() || info.Mode().Perm()&0o022 != 0 {
		return false
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	return ok && int(stat.Uid) == os.Getuid()
}
