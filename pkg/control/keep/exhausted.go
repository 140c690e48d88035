package keep

import (
	"net/netip"

	"github.com/culvert-tunnel/culvert/pkg/lease"
)

// Exhausted reports whether no address of the pool is left to try from this host for this tunnel.
func (m *Machine) Exhausted() bool {
	connected := map[netip.AddrPort]bool{}
	for _, r := range m.records {
		if r.Live && r.Status.State == lease.StateConnected {
			connected[r.InUse().Addr] = true
		}
	}
	for _, h := range m.Holders() {
		v := m.view(h.Holder)
		delete(connected, v.Edge.Addr) // what the holder knows is newer
		if v.Status.State == lease.StateConnected {
			connected[v.Edge.Addr] = true
		}
	}
	return m.pool.Exhausted(m.cfg.Family, m.health, connected)
}
