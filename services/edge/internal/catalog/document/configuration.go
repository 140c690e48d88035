package document

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

// Configuration is what the connectors of a tunnel have to serve. It is never changed.
type Configuration struct {
	// Version only grows; the first one is 0 (docs/spec/lifecycle.md 8.1).
	Version   int32           `json:"version"`
	Document  json.RawMessage `json:"document"`
	UpdatedAt time.Time       `json:"updated_at"`
}

// errVersions means that a tunnel has used up its versions.
var errVersions = fmt.Errorf("no configuration version is left: %w", tunnel.ErrConflict)

// SetConfiguration gives a tunnel a new configuration. Its version is the next one, and greater than above, the greatest one
// that a connector has applied. The same document again changes nothing, unless a connector is ahead. What is not a JSON object
// is ErrInvalid; the content is for the connectors to judge, which may be of another make or version.
func (d *Document) SetConfiguration(id tunnel.ID, doc []byte, above int32, now time.Time) (*Configuration, error) {
	var compact bytes.Buffer
	if err := json.Compact(&compact, doc); err != nil {
		return nil, fmt.Errorf("configuration: %w: %w", ErrInvalid, err)
	}
	if compact.Bytes()[0] != '{' {
		return nil, fmt.Errorf("configuration: %w: not a JSON object", ErrInvalid)
	}
	e, err := d.byID(id)
	if err != nil {
		return nil, err
	}
	if old := e.Configuration; old != nil {
		if above <= old.Version && bytes.Equal(old.Document, compact.Bytes()) {
			return old, nil
		}
		above = max(above, old.Version)
	}
	if above == math.MaxInt32 {
		return nil, errVersions
	}
	e.Configuration = &Configuration{Version: max(above+1, 0), Document: compact.Bytes(), UpdatedAt: now.UTC()}
	return e.Configuration, nil
}
