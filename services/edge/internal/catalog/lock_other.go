//go:build !unix

package catalog

import (
	"fmt"
	"os"
)

// lockDir only marks the directory: this system has no advisory locks that we rely on.
func lockDir(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, fileMode)
	if err != nil {
		return nil, fmt.Errorf("data directory lock: %w", err)
	}
	return f, nil
}
