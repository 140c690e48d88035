//go:build !unix

package rundir

import "os"

// IsPrivate reports whether path is a directory. Here the permissions of the user's temporary directory protect it.
func IsPrivate(path string) bool {
	info, err := os.Lstat(path)
	return err == nil && info.IsDir()
}
