package udp

import (
	"maps"
	"slices"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/transport"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
	"github.com/culvert-tunnel/culvert/pkg/wire/datagram"
	"github.com/culvert-tunnel/culvert/services/edge/internal/registry"
)

const (
	// probeAfter is how long a connection that was spoken to may say nothing before it is asked for a sign of life, and
	// how often it is asked; suspectAfter is when its flows go elsewhere.
	probeAfter   = 250 * time.Millisecond
	suspectAfter = time.Second
	// quietAfter is a little more than the time after which connectors ping a connection that has nothing to say
	// (docs/spec/wire.md 4).
	quietAfter = 1100 * time.Millisecond
)

// attach adds a connection. Flows of connections that it replaces come over.
func (m *Manager) attach(conn *registry.Conn) *peer {
	p := &peer{
		m: m, conn: conn, v3: conn.DatagramV3(), out: newOutbox(),
		flows: make(map[*Flow]struct{}), answers: make(map[datagram.ID]chan datagram.Response),
	}
	p.pulse, _ = conn.Session.(transport.Pulse)
	p.heard.Store(time.Now().UnixNano())
	m.mu.Lock()
	of := m.peers[conn.Slot.Tunnel]
	if of == nil {
		of = make(map[*registry.Conn]*peer)
		m.peers[conn.Slot.Tunnel] = of
	}
	of[conn] = p
	close(m.changed)
	m.changed = make(chan struct{})
	var stale []*peer
	for _, o := range of {
		older := o != p && o.conn.Slot == conn.Slot && o.conn.Epoch < conn.Epoch
		if o != p && (older || o.isRetired() || o.suspect.Load()) {
			stale = append(stale, o)
		}
	}
	m.mu.Unlock()
	for _, o := range stale {
		m.vacate(o, "replaced")
	}
	return p
}

// detach forgets a connection that ended.
func (m *Manager) detach(p *peer) {
	m.mu.Lock()
	of := m.peers[p.conn.Slot.Tunnel]
	if delete(of, p.conn); len(of) == 0 {
		delete(m.peers, p.conn.Slot.Tunnel)
	}
	m.mu.Unlock()
	m.vacate(p, "lost")
}

// vacate makes the flows of a connection look for another one.
func (m *Manager) vacate(p *peer, cause string) {
	m.mu.Lock()
	flows := slices.Collect(maps.Keys(p.flows))
	m.mu.Unlock()
	if len(flows) == 0 {
		return
	}
	m.metrics.moves.WithLabelValues(cause).Inc()
	lost := p.isOver() || p.suspect.Load()
	for _, f := range flows {
		f.leave(p, lost)
	}
}

// bind makes p the connection of f and sends what waited, but for the first if that was bundled; it reports false when either
// is over.
func (m *Manager) bind(f *Flow, p *peer, bundled bool) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.peers[p.conn.Slot.Tunnel][p.conn] != p || m.flows[f.id] != f {
		return false
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.over {
		return false
	}
	if f.peer != nil {
		delete(f.peer.flows, f)
	}
	p.flows[f] = struct{}{}
	f.peer, f.home, f.seeking = p, p.conn.Slot.Connector, false
	if bundled && len(f.waiting.queue) > 0 {
		f.waiting.drop(1)
	}
	f.resendLocked()
	f.settleLocked()
	return true
}

// seekFor is choose for a flow.
func (m *Manager) seekFor(f *Flow, not map[*peer]bool) (*peer, <-chan struct{}) {
	f.mu.Lock()
	home := f.home
	f.mu.Unlock()
	return m.choose(f.tunnel, home, not)
}

// choose gives the best connection of a tunnel that is not in not, and what tells that there may be a better one. Those
// that stay come first, then those of the connector home, which has the socket, then those of the newest epoch of their
// slot, then those with fewer flows.
func (m *Manager) choose(id tunnel.ID, home tunnel.ConnectorID, not map[*peer]bool) (*peer, <-chan struct{}) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var best *peer
	var bestRank rank
	for _, p := range m.peers[id] {
		if not[p] || p.isOver() {
			continue
		}
		r := rank{
			retired: p.isRetired() || p.suspect.Load() || p.isQuiet(), foreign: !home.IsZero() && p.conn.Slot.Connector != home,
			outdated: m.outdatedLocked(p), flows: len(p.flows),
		}
		if best == nil || r.before(bestRank) {
			best, bestRank = p, r
		}
	}
	return best, m.changed
}

// rank orders connections; the lesser one is better.
type rank struct {
	retired, foreign, outdated bool
	flows                      int
}

func (r rank) before(o rank) bool {
	switch {
	case r.retired != o.retired:
		return o.retired
	case r.foreign != o.foreign:
		return o.foreign
	case r.outdated != o.outdated:
		return o.outdated
	default:
		return r.flows < o.flows
	}
}

// outdatedLocked reports whether the slot of p has a newer connection.
func (m *Manager) outdatedLocked(p *peer) bool {
	for _, o := range m.peers[p.conn.Slot.Tunnel] {
		if o.conn.Slot == p.conn.Slot && o.conn.Epoch > p.conn.Epoch {
			return true
		}
	}
	return false
}

// watch gives up connections that are silent although they were spoken to. Their sessions may live on; a sign of life clears
// them of the suspicion. Every packet is one where the transport tells of it; besides, a connection with version 3 is asked for
// one: the answer to a registration, which changes nothing.
func (m *Manager) watch(now time.Time) {
	var dead []*peer
	m.mu.Lock()
	for _, of := range m.peers {
		for _, p := range of {
			if p.watchLocked(now.UnixNano()) {
				dead = append(dead, p)
			}
		}
	}
	m.mu.Unlock()
	for _, p := range dead {
		m.vacate(p, "silent")
	}
}

// isQuiet reports whether a connection misses its keep-alive. It is no reason to leave it, but one to prefer another, and to
// ask it.
func (p *peer) isQuiet() bool {
	return p.pulse != nil && time.Duration(time.Now().UnixNano()-p.heard.Load()) > quietAfter
}

// watchLocked is watch for one connection; it reports whether it was given up.
func (p *peer) watchLocked(now int64) bool {
	p.lastHeard(now)
	if p.pulse == nil && !p.v3 || p.suspect.Load() {
		return false
	}
	spoken := p.spoken.Load()
	if spoken == 0 {
		if p.v3 && p.isQuiet() {
			p.probeLocked(now) // its flows only listen, and it would go unnoticed that there is nobody to listen to
		}
		return false
	}
	quiet := time.Duration(now - spoken)
	if quiet > suspectAfter {
		p.suspect.Store(true)
		return true
	}
	if p.v3 && quiet > probeAfter {
		p.probeLocked(now)
	}
	return false
}

// probeLocked asks for any one of the connection's flows again, but not too often.
func (p *peer) probeLocked(now int64) {
	if now-p.probed.Load() <= int64(probeAfter) {
		return
	}
	p.probed.Store(now)
	for f := range p.flows {
		b, err := (&datagram.Registration{ID: f.id, Dest: f.dst, Idle: f.idle}).Append(nil)
		if err == nil {
			p.send(b)
		}
		return
	}
}
