package edgepool

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
)

// copyFormat is the number of the form of a copy. A reader refuses every other one.
const copyFormat = 1

// MaxCopyBytes bounds a copy: a pool has a few dozen addresses.
const MaxCopyBytes = 256 << 10

// Errors of DecodeCopy.
var (
	ErrDamagedCopy = errors.New("damaged")
	ErrForeignCopy = errors.New("of another pool")
)

// Copy is a pool as it is kept on disk for a start without DNS and without the store. Nothing in it is secret.
type Copy struct {
	// Name is the name of the pool, and Identity says what was looked up: only a process that looks up the same may use it.
	Name     string `json:"name"`
	Identity string `json:"identity"`
	Pool     Pool   `json:"pool"`
}

// sealed is the file: the content as it was written, and its sum.
type sealed struct {
	Format  int             `json:"format"`
	SHA256  string          `json:"sha256"`
	Content json.RawMessage `json:"content"`
}

// EncodeCopy is the file of a copy.
func EncodeCopy(c Copy) ([]byte, error) {
	c.Pool.Version = 0
	content, err := json.Marshal(c)
	if err != nil {
		return nil, fmt.Errorf("copy of pool %q: %w", c.Name, err)
	}
	file, err := json.Marshal(sealed{Format: copyFormat, SHA256: sum(content), Content: content})
	if err != nil {
		return nil, fmt.Errorf("copy of pool %q: %w", c.Name, err)
	}
	return append(file, '\n'), nil
}

// DecodeCopy reads the file of a copy of the pool name, looked up as identity says. The error is ErrForeignCopy for the copy of another
// pool, and ErrDamagedCopy for everything else that cannot be used.
func DecodeCopy(file []byte, name, identity string) (Pool, error) {
	bad := func(format string, args ...any) (Pool, error) {
		return Pool{}, fmt.Errorf("%w: %w", ErrDamagedCopy, fmt.Errorf(format, args...))
	}
	if len(file) > MaxCopyBytes {
		return bad("%d bytes, more than %d", len(file), MaxCopyBytes)
	}
	var s sealed
	if err := json.Unmarshal(file, &s); err != nil {
		return bad("%w", err)
	}
	if s.Format != copyFormat {
		return bad("format %d, want %d", s.Format, copyFormat)
	}
	if got := sum(s.Content); got != s.SHA256 {
		return bad("the content has the SHA-256 %s, want %q", got, s.SHA256)
	}
	var c Copy
	if err := json.Unmarshal(s.Content, &c); err != nil {
		return bad("content: %w", err)
	}
	if c.Name != name || c.Identity != identity {
		return Pool{}, fmt.Errorf("%w: %q (%s), want %q (%s)", ErrForeignCopy, c.Name, c.Identity, name, identity)
	}
	if err := c.Pool.Validate(); err != nil {
		return bad("pool: %w", err)
	}
	c.Pool.Version = 0
	return c.Pool, nil
}

func sum(b []byte) string {
	s := sha256.Sum256(b)
	return hex.EncodeToString(s[:])
}
