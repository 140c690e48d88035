package route

import (
	"strings"

	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

// Entry binds a pattern to a tunnel.
type Entry struct {
	// Pattern is in the form that CanonicalPattern returns.
	Pattern string
	Tunnel  tunnel.ID
}

// Table finds the tunnel of a host. The zero value matches nothing.
type Table struct {
	exact map[string]Entry
	// below holds wildcards under the domain without "*.".
	below    map[string]Entry
	catchAll *Entry
}

// NewTable indexes entries; of several with the same pattern the last one is used.
func NewTable(entries []Entry) *Table {
	t := &Table{exact: make(map[string]Entry), below: make(map[string]Entry)}
	for _, e := range entries {
		if e.Pattern == CatchAll {
			t.catchAll = &e
		} else if domain, ok := strings.CutPrefix(e.Pattern, wildcardPrefix); ok {
			t.below[domain] = e
		} else {
			t.exact[e.Pattern] = e
		}
	}
	return t
}

// Lookup finds the entry of a canonical host. A wildcard matches names of any depth below its domain, not the domain
// itself.
func (t *Table) Lookup(host string) (Entry, bool) {
	if e, ok := t.exact[host]; ok {
		return e, true
	}
	for rest := host; len(t.below) > 0; {
		i := strings.IndexByte(rest, '.')
		if i < 0 {
			break
		}
		rest = rest[i+1:]
		if e, ok := t.below[rest]; ok {
			return e, true
		}
	}
	if t.catchAll != nil {
		return *t.catchAll, true
	}
	return Entry{}, false
}
