package connector

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/culvert-tunnel/culvert/cli/internal/paths"
	"github.com/culvert-tunnel/culvert/pkg/config/cfdfile"
)

// ErrNoFile says that no configuration file was named and none was found at the usual places.
var ErrNoFile = errors.New("no configuration file found")

// FindFile gives the configuration file at explicit, or else the first one at the usual places; ErrNoFile when there is
// none.
func FindFile(explicit, home string) (string, error) {
	if explicit != "" {
		path := paths.ExpandHome(explicit, home)
		if _, err := os.Stat(path); err != nil {
			var pe *fs.PathError
			if errors.As(err, &pe) {
				return "", &fs.PathError{Op: "open", Path: pe.Path, Err: pe.Err}
			}
			return "", err
		}
		return path, nil
	}
	for _, dir := range paths.Search(home) {
		for _, name := range []string{"config.yml", "config.yaml"} {
			path := filepath.Join(dir, name)
			if st, err := os.Stat(path); err == nil && !st.IsDir() {
				return path, nil
			}
		}
	}
	return "", ErrNoFile
}

// ReadFile finds and decodes the configuration file.
func ReadFile(explicit, home string) (*cfdfile.File, error) {
	path, err := FindFile(explicit, home)
	if err != nil {
		return nil, err
	}
	return cfdfile.Read(path)
}

// readSecretFile reads a small file and names it in every error.
func readSecretFile(what, path string) ([]byte, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	return b, nil
}
