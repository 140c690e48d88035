package lastgood

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/google/renameio/v2"

	"github.com/culvert-tunnel/culvert/pkg/filewatch"
	"github.com/culvert-tunnel/culvert/pkg/remoteconfig"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

const (
	filePrefix = "configuration-"
	fileSuffix = ".json"
	// maxFile is the largest file, in bytes: a document of the largest size with its version.
	maxFile = remoteconfig.MaxUpdate + 1<<10
)

// Copy is a configuration in force.
type Copy struct {
	remoteconfig.Update
	// Number is that of an operator's version; 0 for what the edge pushed (rules.Position).
	Number uint64
}

// numbered is what the file has besides the update.
type numbered struct {
	Number uint64 `json:"number,omitempty"`
}

// Copies are the saved configurations of a proxy.
type Copies struct{ dir string }

// New keeps copies below dir. An empty dir keeps none.
func New(dir string) *Copies { return &Copies{dir: dir} }

// Save replaces the copy of the tunnel, in one step. A copy that would be too large for Load is an error and leaves the old one.
func (c *Copies) Save(u Copy) error {
	if c.dir == "" {
		return nil
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false) // six bytes for one would make a large document larger than what Load reads
	err := enc.Encode(struct {
		Version int32           `json:"version"`
		Config  json.RawMessage `json:"config"`
		numbered
	}{u.Version, u.Document, numbered{u.Number}})
	if err != nil {
		return fmt.Errorf("copy of a configuration: %w", err)
	}
	if b.Len() > maxFile {
		return fmt.Errorf("copy of a configuration: %d bytes, but at most %d can be read again", b.Len(), maxFile)
	}
	if err := os.MkdirAll(c.dir, 0o700); err != nil {
		return fmt.Errorf("copy of a configuration: %w", err)
	}
	err = renameio.WriteFile(c.path(u.Tunnel), b.Bytes(), 0o600, renameio.WithTempDir(c.dir), renameio.WithStaticPermissions(0o600))
	if err != nil {
		return fmt.Errorf("copy of a configuration: %w", err)
	}
	return nil
}

// Load reads all copies. A copy that cannot be read is part of the error and hides no other one.
func (c *Copies) Load() ([]Copy, error) {
	if c.dir == "" {
		return nil, nil
	}
	entries, err := os.ReadDir(c.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("copies of configurations: %w", err)
	}
	var all []Copy
	var faults []error
	for _, e := range entries {
		text, isCopy := strings.CutPrefix(e.Name(), filePrefix)
		text, isJSON := strings.CutSuffix(text, fileSuffix)
		if !isCopy || !isJSON {
			continue
		}
		u, err := c.read(text)
		if err != nil {
			faults = append(faults, fmt.Errorf("copy of a configuration: %s: %w", filepath.Join(c.dir, e.Name()), err))
			continue
		}
		all = append(all, u)
	}
	return all, errors.Join(faults...)
}

var errNotInUse = errors.New("its version is that of local rules")

// read reads the copy of the tunnel whose id is text.
func (c *Copies) read(text string) (Copy, error) {
	id, err := tunnel.ParseID(text)
	if err != nil {
		return Copy{}, err
	}
	b, err := filewatch.ReadRegular(c.path(id), maxFile)
	if err != nil {
		return Copy{}, err
	}
	u, err := remoteconfig.UnmarshalUpdate(b)
	if err != nil {
		return Copy{}, err
	}
	var n numbered
	if err := json.Unmarshal(b, &n); err != nil {
		return Copy{}, err
	}
	if u.Version <= remoteconfig.LocalVersion && n.Number == 0 || len(bytes.TrimSpace(u.Document)) == 0 {
		return Copy{}, errNotInUse
	}
	u.Tunnel = id
	return Copy{Update: u, Number: n.Number}, nil
}

func (c *Copies) path(id tunnel.ID) string {
	return filepath.Join(c.dir, filePrefix+id.String()+fileSuffix)
}
