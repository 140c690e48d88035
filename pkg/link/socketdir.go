package link

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
)

// ErrSocketDir means that the default directory of link sockets belongs to another user, or that others may write to it.
var ErrSocketDir = errors.New("directory of link sockets is not private")

// DefaultSocketDir is the directory where the processes of one user put the Unix sockets of the link when nothing else is
// configured. It may not exist; see MakeSocketDir.
func DefaultSocketDir() string {
	return filepath.Join(os.TempDir(), "culvert-"+strconv.Itoa(os.Getuid()))
}

// MakeSocketDir creates the default directory, for its owner alone. The error wraps ErrSocketDir when another user has created
// it or may change it.
func MakeSocketDir() (string, error) {
	dir := DefaultSocketDir()
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return "", fmt.Errorf("link socket directory: %w", err)
	}
	if !IsPrivateDir(dir) {
		return "", fmt.Errorf("%w: %s", ErrSocketDir, dir)
	}
	return dir, nil
}
