package catalog

import (
	"fmt"
	"io/fs"

	"github.com/gofrs/flock"
)

// lock is the exclusive use of a data directory by this process.
type lock struct{ *flock.Flock }

// lockFile takes the lock of a file, which it creates. It does not wait: a lock that another process has is an error.
func lockFile(path string) (*lock, error) {
	l := flock.New(path, flock.SetPermissions(fs.FileMode(fileMode)))
	ok, err := l.TryLock()
	switch {
	case err != nil:
		return nil, fmt.Errorf("data directory lock %s: %w", path, err)
	case !ok:
		return nil, fmt.Errorf("data directory lock %s: another edge uses it", path)
	}
	return &lock{l}, nil
}
