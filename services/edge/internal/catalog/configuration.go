package catalog

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

// Configuration is what the connectors of a tunnel are told to serve. It is never changed.
type Configuration struct {
	// Version only grows; the first one is 0 (docs/spec/lifecycle.md 8.1).
	Version   int32           `json:"version"`
	Document  json.RawMessage `json:"document"`
	UpdatedAt time.Time       `json:"updated_at"`
}

// errVersions says that a tunnel has used up its versions.
var errVersions = fmt.Errorf("no configuration version is left: %w", tunnel.ErrConflict)

// SetConfiguration gives a tunnel a new configuration with the next version, which is also greater than above: what a
// connector has applied already. The same document again changes nothing, unless a connector is ahead. What is no JSON
// object is ErrInvalid; what is in it is for the connectors to judge, which need not be ours.
func (c *Catalog) SetConfiguration(id tunnel.ID, doc []byte, above int32, now time.Time) (*Configuration, error) {
	var plain bytes.Buffer
	if err := json.Compact(&plain, doc); err != nil {
		return nil, fmt.Errorf("configuration: %w: %w", ErrInvalid, err)
	}
	if plain.Bytes()[0] != '{' {
		return nil, fmt.Errorf("configuration: %w: not a JSON object", ErrInvalid)
	}
	next := &Configuration{Document: plain.Bytes(), UpdatedAt: now.UTC()}
	err := c.change(func(d *document) error {
		i := findTunnel(d, func(o tunnelEntry) bool { return o.ID == id })
		if i < 0 {
			return fmt.Errorf("tunnel %s: %w", id, tunnel.ErrNotFound)
		}
		old := d.Tunnels[i].Configuration
		if old != nil {
			if above <= old.Version && bytes.Equal(old.Document, next.Document) {
				next = old
				return nil
			}
			above = max(above, old.Version)
		}
		if above == math.MaxInt32 {
			return errVersions
		}
		next.Version = max(above+1, 0)
		d.Tunnels[i].Configuration = next
		return nil
	})
	if err != nil {
		return nil, err
	}
	return next, nil
}

// Configuration is that of a tunnel, or nil when the tunnel manages itself. The channel is closed when anything in the
// catalog has changed since.
func (c *Catalog) Configuration(id tunnel.ID) (*Configuration, <-chan struct{}) {
	v := c.view.Load()
	return v.tunnels[id].Configuration, v.changed
}
