package catalog

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/tunnel"
	"github.com/culvert-tunnel/culvert/services/edge/internal/atomicfile"
)

const (
	fileName = "tunnels.json"
	// fileVersion is what a file without ports and configurations has, so that an older edge still reads it; one with any
	// has the other version, so that an older edge does not lose them.
	fileVersion  = 1
	portsVersion = 2
	fileMode     = 0o600
	dirMode      = 0o700
)

// document is the file's content.
type document struct {
	Version    int           `json:"version"`
	AccountTag string        `json:"account_tag"`
	Tunnels    []tunnelEntry `json:"tunnels"`
	Routes     []routeEntry  `json:"routes"`
	Ports      []portEntry   `json:"ports,omitempty"`
}

// tunnelEntry keeps the secret as plain bytes, since tunnel.Secret refuses to be written.
type tunnelEntry struct {
	ID         tunnel.ID  `json:"id"`
	Name       string     `json:"name"`
	AccountTag string     `json:"account_tag"`
	Secret     []byte     `json:"secret,omitempty"`
	CreatedAt  time.Time  `json:"created_at"`
	DeletedAt  *time.Time `json:"deleted_at,omitempty"`
	// Configuration is missing when the tunnel manages itself.
	Configuration *Configuration `json:"configuration,omitempty"`
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
	if d.Version < fileVersion || d.Version > portsVersion {
		return document{}, fmt.Errorf("tunnel file %s: version %d, this edge knows %d to %d", path, d.Version, fileVersion, portsVersion)
	}
	return d, nil
}

func writeFile(path string, d document) error {
	managed := func(e tunnelEntry) bool { return e.Configuration != nil }
	if d.Version = fileVersion; len(d.Ports) > 0 || slices.ContainsFunc(d.Tunnels, managed) {
		d.Version = portsVersion
	}
	b, err := json.MarshalIndent(d, "", "  ")
	if err != nil {
		return fmt.Errorf("tunnel file: %w", err)
	}
	return atomicfile.Write(path, append(b, '\n'), fileMode)
}
