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
	// probeAfter is how long a connection may be silent after a datagram was sent to it before it is probed, and the time
	// between two probes. After suspectAfter its flows move elsewhere.
	probeAfter   = 250 * time.Millisecond
	suspectAfter = time.Second
	// quietAfter is slightly more than the interval of a connector's keep-alive pings (docs/spec/wire.md 4).
	quietAfter = 1100 * time.Millisecond
)

// attach adds a connection. The flows of connections that it replaces move to it.
func (fs *Flows) attach(conn *registry.Conn) *peer {
	p := &peer{
		owner: fs, conn: conn, v3: conn.DatagramV3(), out: newOutbox(),
		flows: make(map[*Flow]struct{}), responses: make(map[datagram.ID]chan datagram.Response),
	}
	p.pulse, _ = conn.Session.(transport.Pulse)
	p.heard.Store(time.Now().UnixNano())
	fs.mu.Lock()
	of := fs.peers[conn.Slot.Tunnel]
	if of == nil {
		of = make(map[*registry.Conn]*peer)
		fs.peers[conn.Slot.Tunnel] = of
	}
	of[conn] = p
	close(fs.changed)
	fs.changed = make(chan struct{})
	var stale []*peer
	for _, o := range of {
		older := o != p && o.conn.Slot == conn.Slot && o.conn.Epoch < conn.Epoch
		if o != p && (older || o.isRetired() || o.suspect.Load()) {
			stale = append(stale, o)
		}
	}
	fs.mu.Unlock()
	for _, o := range stale {
		fs.vacate(o, "replaced", o.isDead())
	}
	return p
}

// detach removes a connection that ended.
func (fs *Flows) detach(p *peer) {
	fs.mu.Lock()
	of := fs.peers[p.conn.Slot.Tunnel]
	if delete(of, p.conn); len(of) == 0 {
		delete(fs.peers, p.conn.Slot.Tunnel)
	}
	fs.mu.Unlock()
	// Whatever ended Serve, nothing looks at this connection any more: a flow that stayed with it would never find another one.
	fs.vacate(p, "lost", true)
}

// isDead reports whether the connection delivers nothing any more, as far as is known.
func (p *peer) isDead() bool { return p.isOver() || p.suspect.Load() }

// vacate makes the flows of a connection look for another one. Until they have one they stay, unless lost says that the connection no
// longer delivers anything.
func (fs *Flows) vacate(p *peer, cause string, lost bool) {
	fs.mu.Lock()
	flows := slices.Collect(maps.Keys(p.flows))
	fs.mu.Unlock()
	if len(flows) == 0 {
		return
	}
	fs.metrics.moves.WithLabelValues(cause).Inc()
	for _, f := range flows {
		f.leave(p, lost)
	}
}

// bind makes p the connection of f and sends the waiting payloads, without the first one if that was bundled. It reports false if
// either is over.
func (fs *Flows) bind(f *Flow, p *peer, bundled bool) bool {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	if fs.peers[p.conn.Slot.Tunnel][p.conn] != p || fs.flows[f.id] != f {
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
	f.heard.Store(time.Now().UnixNano())
	if bundled && len(f.waiting.queue) > 0 {
		f.waiting.drop(1)
	}
	f.resendLocked()
	f.settleLocked()
	return true
}

// seekFor is choose for a flow, with the connector that has the flow's socket.
func (fs *Flows) seekFor(f *Flow, exclude map[*peer]bool) (*peer, <-chan struct{}) {
	f.mu.Lock()
	home := f.home
	f.mu.Unlock()
	return fs.choose(f.tunnel, home, exclude)
}

// choose returns the best connection of a tunnel that is not in exclude, or nil, and a channel that is closed when a connection
// is added. It prefers, in this order, connections that are neither retired nor silent, those of the connector home, which has
// the socket, those with the newest epoch of their slot, and those with fewer flows.
func (fs *Flows) choose(id tunnel.ID, home tunnel.ConnectorID, exclude map[*peer]bool) (*peer, <-chan struct{}) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	var best *peer
	var bestRank rank
	for _, p := range fs.peers[id] {
		if exclude[p] || p.isOver() {
			continue
		}
		r := rank{
			retired: p.isRetired() || p.suspect.Load() || p.isQuiet(), foreign: !home.IsZero() && p.conn.Slot.Connector != home,
			outdated: fs.outdatedLocked(p), flows: len(p.flows),
		}
		if best == nil || r.before(bestRank) {
			best, bestRank = p, r
		}
	}
	return best, fs.changed
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
func (fs *Flows) outdatedLocked(p *peer) bool {
	for _, o := range fs.peers[p.conn.Slot.Tunnel] {
		if o.conn.Slot == p.conn.Slot && o.conn.Epoch > p.conn.Epoch {
			return true
		}
	}
	return false
}

// watch moves the flows away from connections that stay silent after a datagram was sent to them. Such a connection becomes
// suspect; the next sign of life ends that. If the transport counts received packets, each of them is a sign of life. A connection
// with version 3 is probed as well: with a repeated registration, whose response changes nothing.
func (fs *Flows) watch(now time.Time) {
	var dead []*peer
	fs.mu.Lock()
	for _, of := range fs.peers {
		for _, p := range of {
			if p.watchLocked(now.UnixNano()) {
				dead = append(dead, p)
			}
		}
	}
	fs.mu.Unlock()
	for _, p := range dead {
		fs.vacate(p, "silent", true)
	}
}

// isQuiet reports whether a keep-alive of the connection is overdue. Flows prefer other connections then, and the connection is
// probed, but its flows stay.
func (p *peer) isQuiet() bool {
	return p.pulse != nil && time.Duration(time.Now().UnixNano()-p.heard.Load()) > quietAfter
}

// watchLocked is watch for one connection; it reports whether the connection has become suspect.
func (p *peer) watchLocked(now int64) bool {
	p.lastHeard(now)
	if p.pulse == nil && !p.v3 || p.suspect.Load() {
		return false
	}
	since := p.unansweredSince.Load()
	if since == 0 {
		if p.v3 && p.isQuiet() {
			p.probeLocked(now) // otherwise flows that only receive would not notice its death
		}
		return false
	}
	quiet := time.Duration(now - since)
	if quiet > suspectAfter {
		p.suspect.Store(true)
		return true
	}
	if p.v3 && quiet > probeAfter {
		p.probeLocked(now)
	}
	return false
}

// probeLocked sends the registration of any one of the connection's flows again, at most once in probeAfter.
func (p *peer) probeLocked(now int64) {
	if now-p.probed.Load() <= int64(probeAfter) {
		return
	}
	p.probed.Store(now)
	for f := range p.flows {
		p.registerAgain(f)
		return
	}
}

// registerAgain repeats the registration of a flow of version 3. Nothing waits for its response.
func (p *peer) registerAgain(f *Flow) {
	if b, err := (&datagram.Registration{ID: f.id, Dest: f.dst, Idle: f.idle}).Append(nil); err == nil {
		p.send(b)
	}
}
