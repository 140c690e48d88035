package crashmark

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/google/renameio/v2"

	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

// MaxAttempts is how often a document is applied that never was applied to the end.
const MaxAttempts = 3

// ErrCrashes says that a document ended the process at each attempt to apply it.
var ErrCrashes = fmt.Errorf("this process ended %d times while it applied this document: it is not applied again", MaxAttempts)

// maxMark bounds the size of a mark's file, which is ours.
const maxMark = 4 << 10

// Marks are the marks of a process, one for each tunnel.
type Marks struct{ dir string }

// mark is what the file of a mark says: the document, and how many attempts to apply it were begun.
type mark struct {
	SHA256   string `json:"sha256"`
	Attempts int    `json:"attempts"`
}

// New keeps marks below dir. An empty dir keeps none.
func New(dir string) *Marks { return &Marks{dir: dir} }

// Begin notes that a document is about to be applied. It fails with ErrCrashes if that was begun MaxAttempts times and never ended;
// any other error says that the mark could not be written.
func (m *Marks) Begin(id tunnel.ID, document []byte) error {
	if m.dir == "" {
		return nil
	}
	sum := sha256.Sum256(document)
	next := mark{SHA256: hex.EncodeToString(sum[:]), Attempts: 1}
	if left, ok := m.read(id); ok && left.SHA256 == next.SHA256 {
		if left.Attempts >= MaxAttempts {
			return ErrCrashes
		}
		next.Attempts = left.Attempts + 1
	}
	if err := m.write(id, next); err != nil {
		return fmt.Errorf("mark of a configuration: %w", err)
	}
	return nil
}

// End notes that the document of the last Begin was applied or rejected.
func (m *Marks) End(id tunnel.ID) error {
	if m.dir == "" {
		return nil
	}
	if err := os.Remove(m.path(id)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("mark of a configuration: %w", err)
	}
	return nil
}

func (m *Marks) path(id tunnel.ID) string {
	return filepath.Join(m.dir, "applying-"+id.String()+".json")
}

// read gives the mark that was left, if any. An unreadable one counts as none.
func (m *Marks) read(id tunnel.ID) (mark, bool) {
	f, err := os.Open(m.path(id))
	if err != nil {
		return mark{}, false
	}
	defer func() { _ = f.Close() }() // only read
	b := make([]byte, maxMark)
	n, err := f.Read(b)
	var left mark
	if err != nil || json.Unmarshal(b[:n], &left) != nil {
		return mark{}, false
	}
	return left, true
}

func (m *Marks) write(id tunnel.ID, next mark) error {
	b, err := json.Marshal(next)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(m.dir, 0o700); err != nil {
		return err
	}
	return renameio.WriteFile(m.path(id), b, 0o600, renameio.WithTempDir(m.dir), renameio.WithStaticPermissions(0o600))
}
