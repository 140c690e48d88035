package plan

import (
	"cmp"
	"slices"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/desired"
	"github.com/culvert-tunnel/culvert/pkg/edgepool"
	"github.com/culvert-tunnel/culvert/pkg/fleet"
	"github.com/culvert-tunnel/culvert/pkg/lease"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

// World is a snapshot of the desired and the observed state.
type World struct {
	// Unsettled says that the store has been available for a short time only, after an outage or since this supervisor
	// started. Registrations and leases may have expired while they could not be renewed, so an absence proves nothing
	// yet, and slots stay where they are.
	Unsettled bool

	// Unlisted says that some worker's record could not be read: a worker that is not among Workers may be that one.
	Unlisted bool
	// Scattered says that more than half of the workers vanished at once: that is the network or the store rather than they.
	Scattered bool

	Workers []fleet.Worker
	Pools   map[string]edgepool.Pool
	// Connectors are those to plan for. Beside are others, as they were read before: they only count as load of the workers.
	Connectors, Beside []Connector
	// Planners is how many supervisors plan, each for connectors of its own; this one is one of them. 0 stands for 1.
	Planners int
	// Now is the time that Health is compared with.
	Now time.Time
	// Holds are workers and hosts that could not reach the edge for a tunnel: until then they get its slots only if nobody else is there.
	Holds map[Hold]time.Time
	// Commands are those of operators that wait.
	Commands []desired.Status
	// Rushed are tunnels of which a connection was made anew on request within the last second.
	Rushed map[tunnel.ID]bool
	// Health is, for each host, what its workers' attempts say about edge addresses.
	Health map[string]edgepool.Health
	// Random chooses between addresses that are equally good.
	Random edgepool.Random
	// Serving says which of Workers can serve which tunnels; nil is looked up. It outlives a plan, since it costs as much as there are
	// pairs of a worker and a tunnel.
	Serving Serving
}

// Serving lists, for each tunnel, the workers that can serve it.
type Serving map[tunnel.ID][]tunnel.WorkerID

// NewServing makes the table of some workers.
func NewServing(workers []fleet.Worker) Serving {
	s := Serving{}
	for _, w := range workers {
		for _, ref := range w.Tunnels {
			if list := s[ref.ID]; len(list) == 0 || list[len(list)-1] != w.ID { // a worker may name a tunnel twice
				s[ref.ID] = append(list, w.ID)
			}
		}
	}
	return s
}

// All lists the connectors of Connectors and of Beside.
func (w *World) All() []Connector { return slices.Concat(w.Connectors, w.Beside) }

// Hold names a worker, or all workers of a host, for one tunnel.
type Hold struct {
	Worker tunnel.WorkerID
	Host   string
	Tunnel tunnel.ID
}

// Connector is what is desired of a connector, and what is observed of it.
type Connector struct {
	Desired
	ID      tunnel.ConnectorID
	Records []lease.Record
	// Proved says that a connection was live lately: the first-connection gate is open (docs/spec/lifecycle.md 2.2).
	Proved bool
	// Unsettled is World.Unsettled for this connector alone: it could not be read a while ago.
	Unsettled bool
	// Lost says that the store lost records of it: nothing is placed or moved until the holders had the time to report.
	Lost bool
	// Damaged are slots whose records cannot be read. They stay as they are.
	Damaged []tunnel.ConnIndex
	// Occupied are the addresses of those, as far as they could be read before: no other slot gets them.
	Occupied map[tunnel.ConnIndex]tunnel.EdgeAddr
}

// Desired is what is required of a tunnel that at least one worker can serve: by the operator's document, and where that says nothing by
// the settings of the workers.
type Desired struct {
	Tunnel      tunnel.ID
	Connections int
	Pool        string
	Family      edgepool.Family
	// Protocol is the one that the operator requires; empty lets the worker choose.
	Protocol tunnel.Protocol
	// Document is what the operator desires; its version is 0 if there is none.
	Document desired.Document
}

// Follow puts what operators desire in the place of the workers' settings. A paused tunnel has no connections.
func Follow(list []Desired, documents map[tunnel.ID]desired.Document) []Desired {
	out := slices.Clone(list)
	for i := range out {
		d := &out[i]
		d.Document = documents[d.Tunnel]
		if d.Document.Connections > 0 {
			d.Connections = d.Document.Connections
		}
		if d.Document.Paused {
			d.Connections = 0
		}
		if d.Document.Pool != nil {
			d.Pool = *d.Document.Pool
		}
		if p, set := d.Document.Transport(); set {
			d.Protocol = p
		}
	}
	return out
}

// Wanted lists the tunnels that workers can serve. Of a tunnel that several workers serve, the highest number of
// connections counts; every other setting is that of the first worker by name.
func Wanted(workers []fleet.Worker, connections int) []Desired {
	sorted := slices.Clone(workers)
	slices.SortFunc(sorted, func(a, b fleet.Worker) int { return cmp.Compare(a.ID, b.ID) })
	byID := map[tunnel.ID]*Desired{}
	var order []*Desired
	for _, w := range sorted {
		for _, ref := range w.Tunnels {
			n := int(ref.Connections)
			if n == 0 {
				n = connections
			}
			d := byID[ref.ID]
			if d == nil {
				d = &Desired{Tunnel: ref.ID, Pool: ref.Pool, Family: family(ref.IPVersion), Protocol: ref.Protocol}
				byID[ref.ID] = d
				order = append(order, d)
			}
			d.Connections = max(d.Connections, n)
		}
	}
	out := make([]Desired, len(order))
	for i, d := range order {
		out[i] = *d
	}
	slices.SortFunc(out, func(a, b Desired) int { return slices.Compare(a.Tunnel[:], b.Tunnel[:]) })
	return out
}

// family is both for a version that a newer worker may know and we do not.
func family(version string) edgepool.Family {
	f, err := edgepool.ParseFamily(version)
	if err != nil {
		return edgepool.Any
	}
	return f
}
