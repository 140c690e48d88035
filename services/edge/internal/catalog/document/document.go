package document

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

const (
	// plainVersion is the version of a file without ports and configurations, which every edge can read. extendedVersion is that
	// of a file with any of them, so that an edge which does not know them refuses the file instead of losing them.
	plainVersion    = 1
	extendedVersion = 2
)

// ErrInvalid means that a name, a host, a port or a configuration is not acceptable.
var ErrInvalid = errors.New("invalid")

// Document is the content of the tunnel file.
type Document struct {
	Version    int           `json:"version"`
	AccountTag string        `json:"account_tag"`
	Tunnels    []tunnelEntry `json:"tunnels"`
	Routes     []routeEntry  `json:"routes"`
	Ports      []portEntry   `json:"ports,omitempty"`
}

// tunnelEntry holds the secret as plain bytes, since tunnel.Secret refuses to be written.
type tunnelEntry struct {
	ID         tunnel.ID `json:"id"`
	Name       string    `json:"name"`
	AccountTag string    `json:"account_tag"`
	Secret     []byte    `json:"secret,omitempty"`
	// PreviousSecret is accepted until PreviousUntil.
	PreviousSecret []byte     `json:"previous_secret,omitempty"`
	PreviousUntil  *time.Time `json:"previous_until,omitempty"`
	CreatedAt      time.Time  `json:"created_at"`
	DeletedAt      *time.Time `json:"deleted_at,omitempty"`
	// Quick is a tunnel of a stranger, which disappears without a connection.
	Quick bool `json:"quick,omitempty"`
	// Configuration is missing when the tunnel manages itself.
	Configuration *Configuration `json:"configuration,omitempty"`
}

type routeEntry struct {
	Host      string    `json:"host"`
	Tunnel    tunnel.ID `json:"tunnel_id"`
	CreatedAt time.Time `json:"created_at"`
}

// Empty is the document of a new data directory. It has no account tag yet.
func Empty() Document { return Document{Version: plainVersion} }

// Parse reads a file. An unknown version is an error.
func Parse(b []byte) (Document, error) {
	var d Document
	if err := json.Unmarshal(b, &d); err != nil {
		return Document{}, err
	}
	if d.Version < plainVersion || d.Version > extendedVersion {
		return Document{}, fmt.Errorf("version %d, this edge knows %d to %d", d.Version, plainVersion, extendedVersion)
	}
	return d, nil
}

// Marshal writes a file, in the oldest version that can hold the content.
func (d Document) Marshal() ([]byte, error) {
	managed := func(e tunnelEntry) bool { return e.Configuration != nil }
	if d.Version = plainVersion; len(d.Ports) > 0 || slices.ContainsFunc(d.Tunnels, managed) {
		d.Version = extendedVersion
	}
	b, err := json.MarshalIndent(d, "", "  ")
	if err != nil {
		return nil, err
	}
	return append(b, '\n'), nil
}

// Clone copies a document, so that changes to the copy leave the original as it is.
func (d Document) Clone() Document {
	d.Tunnels, d.Routes, d.Ports = slices.Clone(d.Tunnels), slices.Clone(d.Routes), slices.Clone(d.Ports)
	return d
}

// find is the position of the tunnel that exists and matches, or -1.
func (d *Document) find(match func(tunnelEntry) bool) int {
	return slices.IndexFunc(d.Tunnels, func(e tunnelEntry) bool { return e.DeletedAt == nil && match(e) })
}

// byID is the tunnel that has the id, or tunnel.ErrNotFound.
func (d *Document) byID(id tunnel.ID) (*tunnelEntry, error) {
	i := d.find(func(e tunnelEntry) bool { return e.ID == id })
	if i < 0 {
		return nil, fmt.Errorf("tunnel %s: %w", id, tunnel.ErrNotFound)
	}
	return &d.Tunnels[i], nil
}
