package sim

import (
	"errors"
	"net/netip"
	"slices"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/control/admit"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

// The time-outs of the transports (docs/spec/lifecycle.md 1).
const (
	quicDial, http2Dial = 5 * time.Second, 5 * time.Second
	quicIdle, http2Idle = 5 * time.Second, 6 * time.Second
)

// Errors of the network and of edges.
var (
	errDialTimeout = errors.New("handshake timed out")
	errDialRefused = errors.New("refused")
	errSilent      = errors.New("no recent network activity")
	errClosed      = errors.New("closed by the edge")
	errDuplicate   = errors.New("duplicate connection")
	errRejected    = errors.New("unauthorized")
	errAskedToWait = errors.New("try again later")
	errCallTimeout = errors.New("call timed out")
)

// misconduct is what a faulty edge address does.
type misconduct uint8

// Every misconduct.
const (
	refuses     misconduct = iota + 1 // refuses the handshake
	hangs                             // does not respond to new connections
	closesEarly                       // accepts, and closes before the registration is done
	closesLate                        // registers, and closes at once
	duplicates                        // responds that the connection exists already
	fences                            // responds that a newer epoch exists
	postpones                         // asks to come back later
	rejects                           // refuses the credentials for good
	stops                             // responds to nothing, established sessions included
)

// behaviour is a fault of some addresses of edges.
type behaviour struct {
	addrs      []netip.AddrPort
	does       misconduct
	retryAfter time.Duration
}

// point is one address of an edge.
type point struct {
	addr tunnel.EdgeAddr
	edge *edge
}

// edge is one process of the far side: the table of its sessions.
type edge struct {
	name     string
	sessions []*Session // open or registered, by age
}

// Session is a session between a worker and an edge address.
type Session struct {
	env      *Env
	at       *point
	protocol tunnel.Protocol
	slot     tunnel.Slot
	epoch    tunnel.Epoch
	state    sessionState
	port     uint16
	// over says that the worker's end is closed, gone that the edge's is.
	over, gone bool
	// silentAt is since when nothing passes between the ends; zero when all is well.
	silentAt time.Time
	cause    error
	onEnd    func(error)
}

type sessionState uint8

const (
	stateOpen sessionState = iota
	stateRegistered
	stateUnregistered
)

// Registration is what a worker registers.
type Registration struct {
	Slot             tunnel.Slot
	Epoch            tunnel.Epoch
	PreviousAttempts uint8
}

// serving reports whether visitors' requests can pass through the session now.
func (s *Session) serving() bool {
	return s.state == stateRegistered && !s.over && !s.gone && s.silentAt.IsZero() && s.env.up()
}

// registered reports whether the edge has the session as registered.
func (s *Session) registered() bool { return s.state == stateRegistered && !s.gone }

// Protocol is the transport of the session.
func (s *Session) Protocol() tunnel.Protocol { return s.protocol }

// OnEnd sets the function that learns how the session ended, unless the worker closed it. It runs at once if it has ended already.
func (s *Session) OnEnd(f func(error)) {
	s.onEnd = f
	if s.cause != nil {
		s.env.After(0, "session over", func() { s.tellEnd() })
	}
}

func (s *Session) tellEnd() {
	if f := s.onEnd; f != nil && !s.over {
		s.onEnd = nil
		f(s.cause)
	}
}

// Close ends the session from the worker's side.
func (s *Session) Close() {
	if s.over {
		return
	}
	s.env.cluster.checker.leaving(s, "close")
	s.over = true
	c := s.env.cluster
	if s.silentAt.IsZero() {
		c.engine.After(c.spec.EdgeLatency, "edge sees the end", func() { c.forget(s) })
	}
}

// end is the end of a session for both sides.
func (c *Cluster) end(s *Session, cause error) {
	c.forget(s)
	if s.over || s.cause != nil {
		return
	}
	s.cause = cause
	s.env.After(c.spec.EdgeLatency, "session over", s.tellEnd)
}

// forget removes a session from the edge.
func (c *Cluster) forget(s *Session) {
	if s.gone {
		return
	}
	s.gone = true
	e := s.at.edge
	e.sessions = slices.DeleteFunc(e.sessions, func(o *Session) bool { return o == s })
	c.checker.dirty = true
}

func closedByEdge() error { return &tunnel.ConnError{Reason: tunnel.ReasonPeerClosed, Err: errClosed} }

// does returns the faulty behaviour of an address, or nil.
func (c *Cluster) does(addr netip.AddrPort) *behaviour {
	for _, b := range c.behaviours {
		if slices.Contains(b.addrs, addr) {
			return b
		}
	}
	return nil
}

// passes reports whether packets pass between a host and an address.
func (c *Cluster) passes(host string, addr netip.AddrPort, p tunnel.Protocol) bool {
	if slices.Contains(c.noEdge, host) || p == tunnel.QUIC && slices.Contains(c.noUDP, host) {
		return false
	}
	b := c.does(addr)
	return b == nil || b.does != stops
}

// listen looks at all sessions after something changed on the way, and lets the silent ones time out.
func (c *Cluster) listen() {
	for _, e := range c.edges {
		for _, s := range slices.Clone(e.sessions) {
			c.listenTo(s)
		}
	}
	c.checker.dirty = true
}

func (c *Cluster) listenTo(s *Session) {
	now := c.engine.Now()
	well := s.env.up() && !s.over && c.passes(s.env.host, s.at.addr.Addr, s.protocol)
	switch {
	case well:
		s.silentAt = time.Time{}
	case s.silentAt.IsZero():
		s.silentAt = now
		idle := quicIdle
		if s.protocol == tunnel.HTTP2 {
			idle = http2Idle
			if !s.env.process.Alive() && c.passes(s.env.host, s.at.addr.Addr, s.protocol) {
				idle = c.spec.EdgeLatency // the kernel of the dead process resets the connection
			}
		}
		c.engine.After(idle, "idle timeout", func() {
			if s.silentAt.Equal(now) {
				c.end(s, &tunnel.ConnError{Reason: tunnel.ReasonIdle, Err: errSilent})
			}
		})
	}
}

// admit decides on a registration as the table of a real edge does: nil accepts it, and replaces older sessions on the same address.
func (e *edge) admit(s *Session, r Registration) error {
	var others []*Session
	var known []admit.Session
	for _, o := range e.sessions {
		if o != s && o.registered() && o.slot == r.Slot {
			others = append(others, o)
			known = append(known, o.known(o.epoch))
		}
	}
	replaced, err := admit.Slot(r.Slot.Index, s.known(r.Epoch), known)
	if err != nil {
		return admit.ResultOf(err).Refusal(nil)
	}
	for _, i := range replaced {
		others[i].state = stateUnregistered
	}
	return nil
}

// known is the session as the rule of a slot sees it. A worker uses the same UDP port again for an index.
func (s *Session) known(epoch tunnel.Epoch) admit.Session {
	host := netip.AddrFrom4([4]byte{10, byte(s.env.number >> 8), byte(s.env.number), byte(s.slot.Index)})
	port := uint16(7000)
	if s.protocol == tunnel.HTTP2 {
		port = s.port
	}
	return admit.Session{Epoch: epoch, Local: s.at.addr.Addr, Remote: netip.AddrPortFrom(host, port)}
}
