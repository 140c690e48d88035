package rules

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

// The limits of what the store keeps for one tunnel.
const (
	// MaxDocument is the largest document, in bytes.
	MaxDocument = 256 << 10
	// MaxVersions is how many versions are kept; the oldest go first.
	MaxVersions = 50
	// MaxNotes is how many configurations that came another way than through the store are kept; the oldest go first.
	MaxNotes = 30
	// MaxResults is how many proxies' results are kept; those that were written longest ago go first.
	MaxResults = 256
	// MaxError is how much of a proxy's reason for a rejection is kept, in bytes.
	MaxError = 1 << 10
	// maxAuthor is the longest name of an author, in bytes.
	maxAuthor = 128
)

// NoPush stands for the version of a push where there is none; it is remoteconfig.LocalVersion.
const NoPush int32 = -1

// Position is the place of a configuration in the order of all of a tunnel. The zero Position is that of push 0; Local is the lowest.
type Position struct {
	// Push is the version of the edge's push that it is, or was made on top of; NoPush without one.
	Push int32 `json:"push" doc:"version of the push of the edge that it is, or was made on top of; -1 is none"`
	// Number is the version that the store gave to a document of an operator; 0 for what the edge pushed, and for local rules.
	Number uint64 `json:"version" doc:"number that the store gave; 0 for what is in force without one"`
}

// Local is the position of local rules, from flags or files.
func Local() Position { return Position{Push: NoPush} }

// Compare is negative when p comes before q, 0 when they are the same, and positive when p comes after q: what comes later replaces
// what comes earlier, and never the other way round.
func (p Position) Compare(q Position) int {
	return cmp.Or(cmp.Compare(p.Push, q.Push), cmp.Compare(p.Number, q.Number))
}

// Replaces reports whether a proxy that has the configuration at now takes that at p.
func (p Position) Replaces(now Position) bool { return p.Compare(now) > 0 }

// Source says how a configuration came to a proxy.
type Source string

// The sources.
const (
	SourceAPI    Source = "api"    // an operator, through the store
	SourcePush   Source = "push"   // the edge
	SourceFile   Source = "file"   // a configuration file
	SourceFlags  Source = "flags"  // flags or settings, without a file
	SourceDocker Source = "docker" // labels of containers, beside file or flags
)

// Head says who wrote a version and when.
type Head struct {
	Position
	Author string `json:"author,omitempty" doc:"who applied it, edge, or the proxy that had it first"`
	Source Source `json:"source,omitempty" doc:"api, push, file, flags or docker"`
	// Hash tells documents apart: the same one has the same hash under one key, and without the key it says nothing about the document.
	Hash string `json:"hash,omitempty" doc:"tells documents apart"`
	// RestoredFrom is the number of the version whose document was put in force again; 0 for a new document.
	RestoredFrom uint64 `json:"restored_from,omitempty" doc:"number of the version whose document was put in force again"`
	// Changed is when it was written, by the clock of the store.
	Changed time.Time `json:"changed,omitzero" doc:"when the store got it"`
}

// Stored is a version as the store has it.
type Stored struct {
	Head
	// Sealed is the document, sealed with the key of the deployment; empty where only the heads were read.
	Sealed string `json:"-"`
}

// SealedFor is the position that the document was sealed for. That of a note has no number: it is sealed before it gets one, and can
// never be opened as a version.
func (v Stored) SealedFor() Position {
	if v.Source != SourceAPI {
		return Position{Push: v.Push}
	}
	return v.Position
}

// Put is the reply of the store to a new version.
type Put struct {
	// Written says that it is stored. Else nothing was written.
	Written bool
	// Position is that of the version, or the one that a version can have now.
	Position Position
}

// Heads are the numbers of the newest versions of all tunnels.
type Heads struct {
	// Same says that nothing changed since the version that the caller knows; Tunnels is empty then.
	Same bool
	// Version grows with each change of any tunnel, unless the store lost data.
	Version uint64
	Tunnels map[tunnel.ID]uint64
}

// Result is what became of the versions at one proxy.
type Result struct {
	Proxy string `json:"proxy_id"`
	// InForce is the position of what it serves.
	InForce Position `json:"in_force"`
	// Hash is that of its document, unless it came through the store; empty where the proxy has no document of its own for the tunnel.
	Hash string `json:"hash,omitempty"`
	// Tried and Error are the number of the last version that it rejected, and why; 0 and empty after it applied a later one.
	Tried uint64 `json:"tried,omitempty"`
	Error string `json:"error,omitempty"`
	// Changed is when it said so, by the clock of the store.
	Changed time.Time `json:"changed,omitzero"`
}

// State is what became of the newest version at a proxy.
type State string

// The states.
const (
	InForce  State = "in force"
	Rejected State = "rejected" // the error says why
	Pending  State = "pending"  // it has not said anything about it
)

// State says what became of the version at newest.
func (r Result) State(newest Position) State {
	switch {
	case r.InForce == newest:
		return InForce
	case r.Tried != 0 && r.Tried == newest.Number:
		return Rejected
	}
	return Pending
}

// At reports whether a proxy serves the configuration. own is what it said of the tunnel, and all what it said of the local rules for all
// tunnels without their own.
func (h Head) At(own, all Result) bool {
	if own.InForce == Local() && own.Hash == "" {
		own.Hash = all.Hash
	}
	if h.Source == SourceAPI {
		return own.InForce == h.Position
	}
	return own.InForce == Position{Push: h.Push} && own.Hash == h.Hash
}

// Of gives the results of the proxies that are registered, with an empty result for one that has said nothing. Where none is registered,
// because the only proxy is in the same process as all others, it gives all.
func (h History) Of(registered []string) []Result {
	if len(registered) == 0 {
		return h.Results
	}
	out := make([]Result, len(registered))
	for i, proxy := range registered {
		out[i] = Result{Proxy: proxy, InForce: Local()}
		for _, r := range h.Results {
			if r.Proxy == proxy {
				out[i] = r
			}
		}
	}
	return out
}

// History is what the store has of one tunnel.
type History struct {
	// Push is the newest version of the edge's pushes that a proxy has reported; the next version is made on top of it.
	Push int32
	// Versions are what operators put into the store, in the order of their numbers, the newest last. Proxies follow the newest.
	Versions []Stored
	// Notes are the configurations that came another way, in the same order. Nobody follows them.
	Notes   []Stored
	Results []Result
	// Damaged are parts that cannot be read. They hide nothing else.
	Damaged []string
}

// Newest is the newest version; false if there is none.
func (h History) Newest() (Stored, bool) {
	if len(h.Versions) == 0 {
		return Stored{}, false
	}
	return h.Versions[len(h.Versions)-1], true
}

// Find gives the version, or note, with a number.
func (h History) Find(number uint64) (Stored, bool) {
	for _, v := range slices.Concat(h.Versions, h.Notes) {
		if v.Number == number {
			return v, true
		}
	}
	return Stored{}, false
}

// Change is a new version that an operator asks for.
type Change struct {
	// Version is the number of the newest version that the change was made from; 0 for a tunnel without any.
	Version *uint64 `json:"version"`
	Author  string  `json:"author,omitempty"`
	// Document is the configuration, as the edge would push it. Restore names a kept version whose document is taken instead.
	Document json.RawMessage `json:"config,omitempty"`
	Restore  uint64          `json:"restore,omitempty"`
}

// ParseChange reads the JSON of a change strictly. It does not look into the document.
func ParseChange(text []byte) (Change, error) {
	var c Change
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(&c); err != nil {
		return Change{}, fmt.Errorf("change: %w", err)
	}
	if d.More() {
		return Change{}, errors.New("change: there is more after the document")
	}
	var errs []error
	if c.Version == nil {
		errs = append(errs, errors.New("version: is missing; 0 stands for a tunnel without versions"))
	}
	errs = append(errs, CheckAuthor(c.Author))
	switch given := len(c.Document) > 0; {
	case given == (c.Restore != 0):
		errs = append(errs, errors.New("config, restore: one of them is needed"))
	case len(c.Document) > MaxDocument:
		errs = append(errs, fmt.Errorf("config: %d bytes are more than %d", len(c.Document), MaxDocument))
	}
	if err := errors.Join(errs...); err != nil {
		return Change{}, fmt.Errorf("change: %w", err)
	}
	return c, nil
}

// CheckAuthor checks the name of an author.
func CheckAuthor(author string) error {
	if len(author) > maxAuthor {
		return fmt.Errorf("author: a name of %d bytes is longer than %d", len(author), maxAuthor)
	}
	if strings.IndexFunc(author, func(r rune) bool { return !unicode.IsPrint(r) }) >= 0 {
		return fmt.Errorf("author: %q has a character that cannot be printed", author)
	}
	return nil
}
