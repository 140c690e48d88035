package keep

import (
	"errors"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/backoff"
	"github.com/culvert-tunnel/culvert/pkg/lease"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

// pace sets the time of the next look at a tunnel where nothing is on its way: what changes is told.
func (m *Machine) pace(now time.Time) {
	switch {
	case m.cfg.Instance == "":
	case m.lost || m.asks || m.unsettled():
		if soon := now.Add(lease.RenewEvery); soon.Before(m.nextTick) {
			m.nextTick = soon
		}
	case m.cfg.Lazy && !m.holds():
		m.nextTick = now.Add(m.lazyWait())
	case m.holds() || m.served():
		m.idle = 0
		m.nextTick = now.Add(lease.SweepEvery + time.Duration(m.deps.Backoff(int64(lease.SweepEvery/4))))
	default:
		m.idle++
		policy := backoff.Policy{Base: lease.RenewEvery, Retries: identifyRetries}
		m.nextTick = now.Add(lease.RenewEvery + min(policy.Wait(m.idle, m.deps.Backoff), idleMost))
	}
}

// started asks for the connector id, or sleeps until there is news.
func (m *Machine) started(now time.Time) {
	if m.cfg.Lazy {
		m.sleep(now)
		return
	}
	m.identify(now)
}

// sleep waits for news of a tunnel that nothing is known of. A supervisor tells the worker of each grant until it takes it up, so that the
// looks in between are only a safety net.
func (m *Machine) sleep(now time.Time) {
	wait := m.lazyWait()
	m.nextTick = now.Add(wait)
	m.wait(now, stageIdle, wait)
}

func (m *Machine) lazyWait() time.Duration {
	return lazyEvery + time.Duration(m.deps.Backoff(int64(lazyEvery/4)))
}

// mark tells the supervisors that something changed. Those of former versions know no marks, and are told by a hint.
func (m *Machine) mark() {
	switch {
	case m.cfg.Instance == "":
		m.emit(Hint{Topic: lease.TopicStatus})
	case m.marking:
		m.unmarked = true
	default:
		m.marking = true
		m.emit(Mark{Tunnel: m.cfg.Tunnel})
	}
}

// marked goes on after a mark. One that failed is made again after the next renewal of the worker's lease.
func (m *Machine) marked(e Marked) {
	again := m.unmarked && e.Err == nil
	m.marking, m.unmarked = false, e.Err != nil
	m.emit(Observe(e))
	if again {
		m.mark()
	}
}

// ended handles the end of what the loop does not wait for.
func (m *Machine) ended(now time.Time, e Event) error {
	switch e := e.(type) {
	case Marked:
		m.marked(e)
	case HolderEnded:
		return m.holderEnded(e)
	case Released:
		return m.released(e)
	case Probed:
		m.probed(now, e)
	}
	return nil
}

// unsettled reports whether holders wait for what others do: a newer holder that has to connect first, or the release of a slot.
func (m *Machine) unsettled() bool {
	for index, hs := range m.holders {
		if len(hs) > 1 || len(hs) == 1 && hs[0].offered < m.records[index].Epoch {
			return true
		}
	}
	return len(m.releasing) > 0 || len(m.left) > 0
}

// served reports whether some worker serves the tunnel, as it was seen last.
func (m *Machine) served() bool {
	for _, r := range m.records {
		if r.Live && r.Status.State == lease.StateConnected {
			return true
		}
	}
	return false
}

// look follows a renewal of the worker's lease: the slots of this tunnel are read again if they changed, and reported if the store lost
// them or if they have something new to say.
func (m *Machine) look(now time.Time, e Looked) {
	if m.connector.IsZero() {
		m.woken = m.woken || e.News
		if m.woken && m.stage == stageIdle {
			m.turn(now)
		}
		return
	}
	m.displaced = false
	if m.unmarked && !m.marking && e.Err == nil {
		m.mark()
	}
	m.take(now, e)
	if !m.woken {
		_, m.woken = m.reports(now)
	}
	if m.woken && m.stage == stageIdle {
		m.turn(now)
	}
	m.probe(now)
}

// take notes what a renewal of the worker's lease showed.
func (m *Machine) take(now time.Time, e Looked) {
	switch {
	case e.Err != nil:
		m.displaced = errors.Is(e.Err, tunnel.ErrConflict)
		if now.Sub(e.Sent) <= lease.LeaseTTL {
			m.looked = e.Sent
		}
	case e.Lost && m.holds():
		m.reoffer, m.woken = true, true
	case e.News:
		m.woken = true
	case !m.lost && !m.woken:
		m.looked = e.Sent
	}
}

// poolIsOld reports whether the pool is to be read before the next renewal.
func (m *Machine) poolIsOld(now time.Time) bool {
	if m.cfg.Instance == "" {
		return m.renewals%poolEvery == 0 || m.pool.Version == 0
	}
	return m.polled.IsZero() || m.holds() && (m.pool.Version == 0 || now.Sub(m.polled) >= checkEvery)
}

// holds reports whether any holder runs.
func (m *Machine) holds() bool {
	for _, hs := range m.holders {
		if len(hs) > 0 {
			return true
		}
	}
	return false
}
