//go:build !unix

package link

import "os"

// IsPrivateDir reports whether path is a directory. Here the permissions of the user's temporary directory protect it.
func IsPrivateDir(path string) bool {
	info, err := os.Lstat(path)
	return err == nil && info.IsDir()
}
