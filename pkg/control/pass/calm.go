package pass

import (
	"reflect"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/control/plan"
	"github.com/culvert-tunnel/culvert/pkg/fleet"
	"github.com/culvert-tunnel/culvert/pkg/lease"
)

const (
	// calmTime is how long a pass that found nothing to do, and nothing on its way, stands for the next ones, unless a hint or a change of
	// the workers asks for another.
	calmTime = 10 * time.Second
	// calmOver is how many connectors there must be: a few cost little.
	calmOver = 4
)

// calm is what a leader knows of a deployment at which nothing happens.
type calm struct {
	// since is when the workers of the last full pass were listed, if it found calm; zero otherwise.
	since   time.Time
	workers []fleet.Worker
	// urgent says that a hint began the present pass.
	urgent bool
}

// staysCalm reports whether the present pass may end after the workers were listed: they are the same, and nobody said that anything
// else has changed. A full pass ends the calm until it is over.
func (m *Machine) staysCalm(workers []fleet.Worker) bool {
	c := m.calm
	quiet := !c.since.IsZero() && m.wishes.calm() && m.read.listed.Sub(c.since) < calmTime && !c.urgent && !m.regenerate &&
		!m.read.world.Unlisted &&
		len(m.read.wanted) > calmOver && reflect.DeepEqual(workers, c.workers)
	if !quiet {
		m.calm.since = time.Time{}
	}
	return quiet
}

// calmed notes whether a full pass found nothing to do, and every slot connected.
func (m *Machine) calmed(w *plan.World, result plan.Result) {
	if len(result.Actions) > 0 || w.Unsettled || w.Scattered || w.Unlisted || len(w.Connectors) < len(m.read.wanted) {
		return
	}
	if len(m.notices.pending) > 0 || len(m.wishes.commands) > 0 {
		return
	}
	for _, c := range w.Connectors {
		if connected(c) < c.Connections || c.Lost || c.Unsettled || len(c.Damaged) > 0 {
			return
		}
	}
	m.calm.since, m.calm.workers = m.read.listed, w.Workers
}

// connected counts the desired slots that are connected.
func connected(c plan.Connector) (n int) {
	for _, r := range c.Records {
		if r.Live && r.Status.State == lease.StateConnected && int(r.Slot.Index) < c.Connections {
			n++
		}
	}
	return n
}
