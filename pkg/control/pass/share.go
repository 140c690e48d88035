package pass

import (
	"slices"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/control/plan"
	"github.com/culvert-tunnel/culvert/pkg/control/shard"
	"github.com/culvert-tunnel/culvert/pkg/lease"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

// settled reports whether this supervisor may join others: those go on planning while it would have to wait.
func (m *Machine) settled() bool { return !m.steady.IsZero() && m.now.Sub(m.steady) >= m.cfg.Settle }

// share takes note of who leads. The tunnels of shards that this supervisor gets are read before anything is decided about them; what it
// read of those that it keeps stays true, unless others may have been in charge meanwhile.
func (m *Machine) share(team lease.Team) []Action {
	if m.leading && len(team.Members) == 0 {
		team.Members = []string{m.cfg.ID}
	}
	before := m.team
	m.team = team
	if m.leading && before.View != team.View && before.View+1 != team.View {
		m.forget()
	}
	if slices.Equal(before.Members, team.Members) {
		return nil
	}
	m.owners, m.reshared = shard.Owners(team.Members), true
	return []Action{SharesChanged{Owners: m.owners, Own: shard.Owned(m.owners, m.cfg.ID), Members: len(team.Members)}}
}

// owns reports whether this supervisor plans for a tunnel.
func (m *Machine) owns(t tunnel.ID) bool { return m.leading && m.owners[shard.Of(t)] == m.cfg.ID }

// mine are those of the connectors that this supervisor plans for. On standby it learns of all.
func (m *Machine) mine(list []plan.Desired) []plan.Desired {
	if !m.leading {
		return list
	}
	return slices.DeleteFunc(slices.Clone(list), func(d plan.Desired) bool { return !m.owns(d.Tunnel) })
}

// The registrations of a deployment: so many grants in a second, and so many at once, by all supervisors together. The sum stays below the
// 50 a second that docs/spec/lifecycle.md 14.3 allows, since holders that lost a connection make it again without a grant.
const (
	grantRate  = 45
	grantBurst = 20
	// grantWait is the longest that a grant may have to wait for its turn: one that would wait longer is made later, when more urgent ones
	// may have come.
	grantWait = 30 * time.Second
)

// pacer spaces grants: each has a time at which its holder may start.
type pacer struct{ full time.Time }

// take returns how long the holder of the next grant has to wait, by a supervisor that is one of so many. While that is too long the grant
// is not to be made, and takes no place.
func (p *pacer) take(now time.Time, members int) (wait time.Duration, ok bool) {
	members = max(members, 1)
	every := time.Second * time.Duration(members) / grantRate
	burst := time.Duration(max(grantBurst/members, 1)) * every
	full := p.full
	if full.Before(now) {
		full = now
	}
	full = full.Add(every)
	wait = max(full.Sub(now)-burst, 0)
	if wait > grantWait {
		return wait, false
	}
	p.full = full
	return wait, true
}
