package pass

import (
	"time"

	"github.com/culvert-tunnel/culvert/pkg/control/plan"
	"github.com/culvert-tunnel/culvert/pkg/edgepool"
	"github.com/culvert-tunnel/culvert/pkg/lease"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

// health remembers for each host which edge addresses its workers could not reach. It is lost with the supervisor: the next one learns
// it again from the attempts that fail.
type health struct {
	hosts map[string]edgepool.Health
	// counted is the last attempt of each slot that was counted: workers report one until the next.
	counted map[tunnel.Slot]attempt
}

type attempt struct {
	epoch   tunnel.Epoch
	state   lease.State
	retries int
}

// observe learns from what the workers of a world report at the time now, and forgets what the world no longer has.
func (h *health) observe(w *plan.World, now time.Time) {
	host := make(map[tunnel.WorkerID]string, len(w.Workers))
	next := make(map[string]edgepool.Health, len(w.Workers))
	for _, worker := range w.Workers {
		host[worker.ID] = worker.Host
		next[worker.Host] = h.hosts[worker.Host]
	}
	counted := make(map[tunnel.Slot]attempt)
	for _, c := range w.Connectors {
		for _, r := range c.Records {
			name, known := host[r.Worker]
			if !known || !r.Live {
				continue
			}
			a := attempt{epoch: r.Epoch, state: r.Status.State, retries: r.Status.Retries}
			counted[r.Slot] = a
			if h.counted[r.Slot] != a {
				next[name] = after(next[name], r, now)
			}
		}
	}
	h.hosts, h.counted = next, counted
	w.Now, w.Health = now, next
}

// after is the health of a host after what a worker of it reports of a slot.
func after(h edgepool.Health, r lease.Record, now time.Time) edgepool.Health {
	switch r.Status.State {
	case lease.StateConnected:
		return h.After(r.InUse().Addr, tunnel.ReasonNone, now)
	case lease.StateFailed:
		return h.After(r.InUse().Addr, r.Status.Reason, now)
	default:
		return h
	}
}
