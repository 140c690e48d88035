// Package atomicfile replaces files so that a crash at any moment leaves the old or the new content, never a mixture. It wraps
// google/renameio, and adds what that leaves out: the new name is on disk when Write returns. It starts no goroutine and keeps
// no state.
package atomicfile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/google/renameio/v2"
)

// Write replaces a file by way of a temporary one beside it. The file gets exactly the mode, whatever the umask and the mode of
// the old file are.
func Write(path string, b []byte, mode fs.FileMode) error {
	if err := replace(path, b, mode); err != nil {
		return fmt.Errorf("file %s: %w", path, err)
	}
	return nil
}

func replace(path string, b []byte, mode fs.FileMode) error {
	dir := filepath.Dir(path)
	// renameio.WriteFile would keep the mode of the old file.
	f, err := renameio.NewPendingFile(path, renameio.WithTempDir(dir), renameio.WithStaticPermissions(mode))
	if err != nil {
		return err
	}
	defer func() { _ = f.Cleanup() }() // the file is gone after the rename
	if _, err := f.Write(b); err != nil {
		return err
	}
	if err := f.CloseAtomicallyReplace(); err != nil {
		return err
	}
	return syncDir(dir)
}

// syncDir makes a rename durable.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
