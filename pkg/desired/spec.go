package desired

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

// The limits of a document.
const (
	MaxConnections = 255 // the index of a connection is one byte on the wire (docs/spec/wire.md 8.1)
	MaxWeight      = 100
	MaxWeights     = 256
	MaxName        = 128 // bytes of a name: of a pool, a worker, a host, an author
	MaxBytes       = 64 << 10
)

// HostPrefix begins the key of a weight for all workers of a host.
const HostPrefix = "host/"

// ProtocolAuto lets the holders choose the transport, whatever the settings of the workers say.
const ProtocolAuto = "auto"

// Spec is what an operator desires of one tunnel. What is not set is as the settings of the workers say.
type Spec struct {
	// Connections is the number of connections, 1 to MaxConnections; 0 is not set.
	Connections int `json:"connections,omitempty"`
	// Protocol is quic, http2 or auto; empty is not set.
	Protocol string `json:"protocol,omitempty"`
	// Pool names the edge pool; nil is not set, and the empty name is the default pool.
	Pool *string `json:"pool,omitempty"`
	// Paused tunnels have no connections: they drain, and none is made until the tunnel is resumed.
	Paused bool `json:"paused,omitempty"`
	// Weights are shares of the tunnel's connections by worker id, or by HostPrefix and the name of a host: 0 (none) to MaxWeight. A
	// worker that has none of its own has that of its host, or 1.
	Weights map[string]int `json:"weights,omitempty"`
}

// ParseSpec reads the JSON of a Spec strictly: unknown fields, values beyond the limits and data after the document are errors that name
// the field.
func ParseSpec(b []byte) (Spec, error) {
	var s Spec
	if err := strict(b, &s); err != nil {
		return Spec{}, fmt.Errorf("desired state: %w", err)
	}
	if err := s.Validate(); err != nil {
		return Spec{}, fmt.Errorf("desired state: %w", err)
	}
	return s, nil
}

// strict decodes one JSON document without unknown fields.
func strict(b []byte, into any) error {
	if len(b) > MaxBytes {
		return fmt.Errorf("%d bytes are more than %d", len(b), MaxBytes)
	}
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	var kind *json.UnmarshalTypeError
	switch err := dec.Decode(into); {
	case errors.As(err, &kind):
		return fmt.Errorf("%s: %s is not a %s", cmp.Or(kind.Field, "document"), kind.Value, kind.Type)
	case errors.Is(err, io.EOF):
		return errors.New("the document is empty")
	case err != nil:
		return errors.New(strings.TrimPrefix(err.Error(), "json: "))
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return errors.New("there is more after the document")
	}
	return nil
}

// Validate reports every value beyond the limits.
func (s Spec) Validate() error {
	var errs []error
	if s.Connections < 0 || s.Connections > MaxConnections {
		errs = append(errs, fmt.Errorf("connections: %d is not between 1 and %d", s.Connections, MaxConnections))
	}
	if _, err := s.protocol(); err != nil {
		errs = append(errs, err)
	}
	if s.Pool != nil {
		errs = append(errs, name("pool", *s.Pool))
	}
	if len(s.Weights) > MaxWeights {
		errs = append(errs, fmt.Errorf("weights: %d are more than %d", len(s.Weights), MaxWeights))
	}
	for _, key := range slices.Sorted(maps.Keys(s.Weights)) {
		if strings.TrimPrefix(key, HostPrefix) == "" {
			errs = append(errs, fmt.Errorf("weights: %q names no worker and no host", key))
		}
		errs = append(errs, name("weights", key))
		if w := s.Weights[key]; w < 0 || w > MaxWeight {
			errs = append(errs, fmt.Errorf("weights: %d of %q is not between 0 and %d", w, key, MaxWeight))
		}
	}
	return errors.Join(errs...)
}

// name checks a name of field.
func name(field, text string) error {
	if len(text) > MaxName {
		return fmt.Errorf("%s: a name of %d bytes is longer than %d", field, len(text), MaxName)
	}
	if i := strings.IndexFunc(text, func(r rune) bool { return !unicode.IsPrint(r) }); i >= 0 {
		return fmt.Errorf("%s: %q has a character that cannot be printed", field, text)
	}
	return nil
}

func (s Spec) protocol() (tunnel.Protocol, error) {
	if s.Protocol == "" || s.Protocol == ProtocolAuto {
		return "", nil
	}
	p, err := tunnel.ParseProtocol(s.Protocol)
	if err != nil {
		return "", fmt.Errorf("protocol: %q is none of auto, quic, http2", s.Protocol)
	}
	return p, nil
}

// Transport is the protocol that the connections have to use: empty lets the holders choose. set says whether the document decides it.
func (s Spec) Transport() (p tunnel.Protocol, set bool) {
	p, _ = s.protocol()
	return p, s.Protocol != ""
}

// Weight is the share of a worker on a host.
func (s Spec) Weight(worker tunnel.WorkerID, host string) int {
	if w, found := s.Weights[string(worker)]; found {
		return w
	}
	if w, found := s.Weights[HostPrefix+host]; found {
		return w
	}
	return 1
}

// SamePool reports whether two specs name the same pool.
func (s Spec) SamePool(other Spec) bool {
	return s.Pool == nil && other.Pool == nil || s.Pool != nil && other.Pool != nil && *s.Pool == *other.Pool
}

// Document is a stored Spec: the zero Spec with a version says that nothing is desired any more.
type Document struct {
	Spec
	// Version grows with each change.
	Version uint64 `json:"version"`
	// PoolVersion is the version in which the pool changed last. Epochs that are lower were granted before.
	PoolVersion uint64 `json:"-"`
	// Author is who made the change, as they said; Changed is when, by the clock of the store.
	Author  string    `json:"author,omitempty"`
	Changed time.Time `json:"changed,omitzero"`
	// Former is what was desired before the last change.
	Former *Spec `json:"former,omitempty"`
}

// Mark says that a worker is drained: its slots move to other workers, and it gets no new ones, until the mark is removed.
type Mark struct {
	Drained bool      `json:"drained"`
	Version uint64    `json:"version"`
	Author  string    `json:"author,omitempty"`
	Changed time.Time `json:"changed,omitzero"`
}

// Body is the stored form of a document or a mark, without what the store adds.
type Body struct {
	Spec
	Drained bool   `json:"drained,omitempty"`
	Author  string `json:"author,omitempty"`
}

// Encode is the JSON of a body.
func (b Body) Encode() ([]byte, error) {
	if err := errors.Join(b.Validate(), CheckAuthor(b.Author)); err != nil {
		return nil, err
	}
	return json.Marshal(b)
}

// DecodeBody reads a stored body. Fields that a newer version of this program added are ignored; values beyond the limits are errors.
func DecodeBody(text []byte) (Body, error) {
	var b Body
	if len(text) > MaxBytes {
		return Body{}, fmt.Errorf("stored desired state: %d bytes are more than %d", len(text), MaxBytes)
	}
	if err := json.Unmarshal(text, &b); err != nil {
		return Body{}, fmt.Errorf("stored desired state: %w", err)
	}
	if err := errors.Join(b.Validate(), CheckAuthor(b.Author)); err != nil {
		return Body{}, fmt.Errorf("stored desired state: %w", err)
	}
	return b, nil
}

// CheckAuthor checks the name of an author.
func CheckAuthor(author string) error { return name("author", author) }
