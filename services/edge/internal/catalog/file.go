package catalog

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/tunnel"
	"github.com/culvert-tunnel/culvert/services/edge/internal/atomicfile"
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

func writeFile(path string, d document) error {
	b, err := json.MarshalIndent(d, "", "  ")
	if err != nil {
		return fmt.Errorf("tunnel file: %w", err)
	}
	return atomicfile.Write(path, append(b, '\n'), fileMode)
}
