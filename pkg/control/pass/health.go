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
	// held are workers and hosts that could not reach the edge.
	held map[plan.Hold]held
}

// held says how often a worker or a host could not reach the edge, and until when it is held off.
type held struct {
	failures int
	until    time.Time
}

// Times of the hold-off, doubling with each failure: short while the tunnel is connected nowhere, since the edge may be to blame.
const (
	holdShort, holdLong = 30 * time.Second, 5 * time.Minute
	holdMax             = 10 * time.Minute
)

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
	h.release(w, host)
	counted := make(map[tunnel.Slot]attempt)
	for _, c := range w.All() {
		for _, r := range c.Records {
			name, known := host[r.Worker]
			if !known || !r.Live {
				continue
			}
			a := attempt{epoch: r.Epoch, state: r.Status.State, retries: r.Status.Retries}
			counted[r.Slot] = a
			if h.counted[r.Slot] != a {
				next[name] = after(next[name], r, now)
				h.holdOff(w, &r, name, now)
			}
		}
	}
	h.hosts, h.counted = next, counted
	w.Now, w.Health = now, next
	w.Holds = make(map[plan.Hold]time.Time, len(h.held))
	for key, hold := range h.held {
		w.Holds[key] = hold.until
	}
}

// release forgets the failures of workers and hosts that are connected, and those of workers that are gone.
func (h *health) release(w *plan.World, host map[tunnel.WorkerID]string) {
	if h.held == nil {
		h.held = map[plan.Hold]held{}
	}
	for _, c := range w.All() {
		for _, r := range c.Records {
			if r.Live && r.Status.State == lease.StateConnected {
				delete(h.held, plan.Hold{Worker: r.Worker, Tunnel: c.Tunnel})
				delete(h.held, plan.Hold{Host: host[r.Worker], Tunnel: c.Tunnel})
			}
		}
	}
	for key := range h.held {
		if _, known := host[key.Worker]; key.Worker != "" && !known {
			delete(h.held, key)
		}
	}
}

// holdOff counts a failed attempt against the worker and its host, unless another slot of the tunnel is connected there.
func (h *health) holdOff(w *plan.World, r *lease.Record, host string, now time.Time) {
	switch r.Status.Reason {
	case tunnel.ReasonDial, tunnel.ReasonBlocked, tunnel.ReasonTLS:
	default:
		return
	}
	if r.Status.State != lease.StateFailed {
		return
	}
	var byWorker, onHost, anywhere bool
	hosts := map[tunnel.WorkerID]string{}
	for _, worker := range w.Workers {
		hosts[worker.ID] = worker.Host
	}
	for _, c := range w.All() {
		for _, other := range c.Records {
			if c.Tunnel != r.Slot.Tunnel || !other.Live || other.Status.State != lease.StateConnected {
				continue
			}
			anywhere = true
			byWorker = byWorker || other.Worker == r.Worker
			onHost = onHost || hosts[other.Worker] == host
		}
	}
	if !byWorker {
		h.hold(plan.Hold{Worker: r.Worker, Tunnel: r.Slot.Tunnel}, anywhere, now)
	}
	if !onHost {
		h.hold(plan.Hold{Host: host, Tunnel: r.Slot.Tunnel}, anywhere, now)
	}
}

func (h *health) hold(key plan.Hold, elsewhere bool, now time.Time) {
	k := h.held[key]
	k.failures++
	d := holdShort
	if elsewhere {
		d = holdLong
	}
	for i := 1; i < k.failures && d < holdMax; i++ {
		d *= 2
	}
	k.until = now.Add(min(d, holdMax))
	h.held[key] = k
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
