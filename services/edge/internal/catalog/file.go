package catalog

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

const (
	fileName    = "tunnels.json"
	fileVersion = 1
	fileMode    = 0o600
	dirMode     = 0o700
)

// document is the file's content.
type document struct {
	Version    int           `json:"version"`
	AccountTag string        `json:"account_tag"`
	Tunnels    []tunnelEntry `json:"tunnels"`
	Routes     []routeEntry  `json:"routes"`
}

// tunnelEntry keeps the secret as plain bytes, since tunnel.Secret refuses to be written.
type tunnelEntry struct {
	ID         tunnel.ID  `json:"id"`
	Name       string     `json:"name"`
	AccountTag string     `json:"account_tag"`
	Secret     []byte     `json:"secret,omitempty"`
	CreatedAt  time.Time  `json:"created_at"`
	DeletedAt  *time.Time `json:"deleted_at,omitempty"`
}

type routeEntry struct {
	Host      string    `json:"host"`
	Tunnel    tunnel.ID `json:"tunnel_id"`
	CreatedAt time.Time `json:"created_at"`
}

// readFile returns an empty document when there is no file yet.
func readFile(path string) (document, error) {
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return document{Version: fileVersion}, nil
	}
	if err != nil {
		return document{}, fmt.Errorf("tunnel file: %w", err)
	}
	var d document
	if err := json.Unmarshal(b, &d); err != nil {
		return document{}, fmt.Errorf("tunnel file %s: %w", path, err)
	}
	if d.Version != fileVersion {
		return document{}, fmt.Errorf("tunnel file %s: version %d, this edge knows %d", path, d.Version, fileVersion)
	}
	return d, nil
}

// writeFile replaces the file so that a crash at any moment leaves the old or the new content, never a mixture.
func writeFile(path string, d document) error {
	b, err := json.MarshalIndent(d, "", "  ")
	if err != nil {
		return fmt.Errorf("tunnel file: %w", err)
	}
	return WriteAtomic(path, append(b, '\n'), fileMode)
}

// WriteAtomic writes a file through a temporary one beside it, synchronised to disk before and after the rename.
func WriteAtomic(path string, b []byte, mode fs.FileMode) error {
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, filepath.Base(path)+".tmp-*")
	if err != nil {
		return fmt.Errorf("file %s: %w", path, err)
	}
	defer func() { _ = os.Remove(f.Name()) }() // gone after the rename
	err = f.Chmod(mode)
	if err == nil {
		_, err = f.Write(b)
	}
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err == nil {
		err = syncDir(dir)
	}
	if err != nil {
		return fmt.Errorf("file %s: %w", path, err)
	}
	return nil
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	err = d.Sync()
	if cerr := d.Close(); err == nil {
		err = cerr
	}
	return err
}
