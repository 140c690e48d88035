package rundir

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// ErrShared means that the directory belongs to another user, or that others may write to it.
var ErrShared = errors.New("directory of sockets is not private")

// Default is the directory for temporary sockets of this user. It may not exist; see Make.
func Default() string {
	return filepath.Join(os.TempDir(), "culvert-"+strconv.Itoa(os.Getuid()))
}

// Make creates the default directory, for its owner alone. The error wraps ErrShared when another user has created it or may change it.
func Make() (string, error) {
	dir := Default()
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return "", fmt.Errorf("directory of sockets: %w", err)
	}
	if !IsPrivate(dir) {
		return "", fmt.Errorf("%w: %s", ErrShared, dir)
	}
	return dir, nil
}

// OfService is the directory that systemd made for this service alone (RuntimeDirectory), else Make. Unlike the directory for temporary
// files, which may be the service's own, it is the same one for the commands of an operator.
func OfService() (string, error) {
	given, _, _ := strings.Cut(os.Getenv("RUNTIME_DIRECTORY"), ":")
	if dir, err := filepath.EvalSymlinks(given); err == nil && filepath.IsAbs(dir) && IsPrivate(dir) {
		return dir, nil
	}
	return Make()
}
