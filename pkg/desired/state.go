package desired

import (
	"bytes"
	"cmp"
	"reflect"
	"slices"

	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

// State is all that is desired, as it was read last.
type State struct {
	// Version changes with everything in it; 0 says that nothing was ever read or written.
	Version uint64
	Tunnels map[tunnel.ID]Document
	Workers map[tunnel.WorkerID]Mark
	// Commands are those that wait for a result, by id.
	Commands []Status
	// Damaged are subjects whose stored form cannot be read, with the reason.
	Damaged []string
}

// Lost is what a store does not have any more, or has only in an older version.
type Lost struct {
	Tunnels []tunnel.ID
	Workers []tunnel.WorkerID
}

// Empty reports whether nothing was lost.
func (l Lost) Empty() bool { return len(l.Tunnels) == 0 && len(l.Workers) == 0 }

// Merge takes what was read over what was known, and returns the result and what the store has lost. Documents and marks never go back
// to an older version, except that the store removes those that desire nothing after a while. Commands are those that were read: one that
// the store lost was not carried out, and its author finds it absent.
func (s State) Merge(read State) (State, Lost) {
	out := State{
		Version: read.Version, Commands: read.Commands, Damaged: read.Damaged,
		Tunnels: make(map[tunnel.ID]Document, len(read.Tunnels)), Workers: make(map[tunnel.WorkerID]Mark, len(read.Workers)),
	}
	var lost Lost
	for id, d := range read.Tunnels {
		out.Tunnels[id] = d
	}
	for id, m := range read.Workers {
		out.Workers[id] = m
	}
	for id, d := range s.Tunnels {
		now, found := read.Tunnels[id]
		if now.Version < d.Version && (found || !reflect.DeepEqual(d.Spec, Spec{})) {
			out.Tunnels[id] = d
			lost.Tunnels = append(lost.Tunnels, id)
		}
	}
	for id, m := range s.Workers {
		now, found := read.Workers[id]
		if now.Version < m.Version && (found || m.Drained) {
			out.Workers[id] = m
			lost.Workers = append(lost.Workers, id)
		}
	}
	slices.SortFunc(lost.Tunnels, func(a, b tunnel.ID) int { return bytes.Compare(a[:], b[:]) })
	slices.SortFunc(lost.Workers, func(a, b tunnel.WorkerID) int { return cmp.Compare(a, b) })
	return out, lost
}
