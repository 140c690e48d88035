package retain

import (
	"errors"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/backoff"
	"github.com/culvert-tunnel/culvert/pkg/edgepool"
	"github.com/culvert-tunnel/culvert/pkg/lease"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

// refreshReply handles the replies of a lookup and of its publication.
func (m *Machine) refreshReply(now time.Time, e Event) []Action {
	switch e := e.(type) {
	case LookupReply:
		if m.stage == lookingUp {
			return m.lookedUp(now, e)
		}
	case PublishReply:
		if m.stage == publishing {
			return m.published(now, e)
		}
		if m.stage == restoring {
			return m.restoredPool(now, e)
		}
	case HintReply:
		if m.stage == hinting {
			m.unhinted = e.Err != nil
			m.round = errors.Join(m.round, e.Err)
			return m.readLeader()
		}
	}
	return nil
}

// hint wakes the readers of the pool after the facts so far.
func (m *Machine) hint(facts ...Action) []Action {
	m.stage = hinting
	return append(facts, Hint{Topic: lease.TopicPools})
}

// lookedUp uses the result of a lookup. After a slow one the lead is renewed before.
func (m *Machine) lookedUp(now time.Time, r LookupReply) []Action {
	m.result = r
	if now.Sub(m.began) < renewEvery {
		return m.use(now)
	}
	m.stage = confirming
	return m.takeLead()
}

// confirmed uses the result of a lookup if this replica leads still: another one may have published meanwhile. Else a replica that gets
// the lead again looks up at once.
func (m *Machine) confirmed(now time.Time, lead LeadReply) []Action {
	if lead.Err != nil {
		m.round = lead.Err
		return m.end(now)
	}
	if !lead.Leading {
		m.leads, m.leading = false, false
		return m.look(LeadChanged{Leading: false})
	}
	return m.use(now)
}

func (m *Machine) use(now time.Time) []Action {
	r := m.result
	if r.Err != nil {
		return m.failed(now, r.Err)
	}
	m.found = r.Pool
	m.stage = comparing
	return []Action{ReadPool{Name: m.cfg.Name}}
}

// compare publishes what was found. TXT records that could not be read stay as they were.
func (m *Machine) compare(now time.Time, r PoolReply) []Action {
	if r.Err != nil && !errors.Is(r.Err, tunnel.ErrNotFound) {
		return m.failed(now, r.Err)
	}
	if m.result.Stale != nil && r.Err == nil {
		return m.failed(now, m.result.Stale) // the published pool is newer than one of a former run
	}
	if m.found.ProtocolTXT == "" {
		m.found.ProtocolTXT = r.Pool.ProtocolTXT
	}
	if m.found.FeatureTXT == "" {
		m.found.FeatureTXT = r.Pool.FeatureTXT
	}
	m.changed = r.Err != nil || !edgepool.Same(r.Pool, m.found)
	m.stage = publishing
	return []Action{Publish{Name: m.cfg.Name, Pool: m.found}}
}

func (m *Machine) published(now time.Time, r PublishReply) []Action {
	if r.Err != nil {
		return m.failed(now, r.Err)
	}
	var facts []Action
	if m.changed {
		facts = append(facts, Published{Version: r.Version, Pool: m.found})
	}
	facts = append(facts, m.lookup(now, m.result.Stale))
	if m.result.Stale != nil {
		m.again(now)
	} else {
		m.failures = m.failures.Succeeded(now, 0)
		m.due = now.Add(m.cfg.Refresh)
	}
	m.good = m.found
	m.good.Version = r.Version
	if !m.changed {
		return m.look(facts...)
	}
	return m.hint(facts...)
}

// failed keeps the failure of a lookup, or of its publication, and sets the time of the next one. The published pool stays.
func (m *Machine) failed(now time.Time, err error) []Action {
	fact := m.lookup(now, err)
	m.again(now)
	if errors.Is(err, tunnel.ErrUnavailable) {
		m.round = err
	}
	return m.look(fact)
}

// again counts a lookup that failed, and sets the time of the next one.
func (m *Machine) again(now time.Time) {
	m.failures = m.failures.Failed(now)
	m.due = now.Add(backoff.Policy{Base: retryBase, Retries: retryCount}.Wait(m.failures.Failures, m.cfg.Random))
}

// lookup remembers the result of a lookup.
func (m *Machine) lookup(now time.Time, err error) LookedUp {
	news := (err == nil) != (m.failure == nil)
	m.failure = err
	return LookedUp{At: now, Err: err, News: news}
}
