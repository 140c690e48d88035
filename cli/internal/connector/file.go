package connector

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/culvert-tunnel/culvert/pkg/config/cfdfile"
)

// ErrNoFile says that no configuration file was named and none was found at the usual places.
var ErrNoFile = errors.New("no configuration file found")

// StateDir is where this program keeps credentials and the data of its own edge, below the home directory.
const StateDir = ".culvert"

// searchDirs are the directories that configuration and credentials are looked for in, in order (docs/spec/lifecycle.md 11.2).
func searchDirs(home string) []string {
	var dirs []string
	if home != "" {
		for _, d := range []string{".cloudflared", ".cloudflare-warp", "cloudflare-warp"} {
			dirs = append(dirs, filepath.Join(home, d))
		}
	}
	return append(dirs, "/etc/cloudflared", "/usr/local/etc/cloudflared")
}

// FindFile gives the configuration file at explicit, or else the first one at the usual places; ErrNoFile when there is
// none.
func FindFile(explicit, home string) (string, error) {
	if explicit != "" {
		path := ExpandHome(explicit, home)
		if _, err := os.Stat(path); err != nil {
			var pe *fs.PathError
			if errors.As(err, &pe) {
				return "", &fs.PathError{Op: "open", Path: pe.Path, Err: pe.Err}
			}
			return "", err
		}
		return path, nil
	}
	for _, dir := range searchDirs(home) {
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

// ExpandHome replaces a leading ~ by the home directory.
func ExpandHome(path, home string) string {
	if rest, ok := strings.CutPrefix(path, "~/"); ok && home != "" {
		return filepath.Join(home, rest)
	}
	return path
}

// readSecretFile reads a small file and names it in every error.
func readSecretFile(what, path string) ([]byte, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	return b, nil
}
