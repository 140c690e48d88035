package udp

import (
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/culvert-tunnel/culvert/pkg/link"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
	"github.com/culvert-tunnel/culvert/pkg/wire/datagram"
)

// Reason says why a datagram was dropped.
type Reason string

// The reasons.
const (
	Malformed       Reason = "malformed"
	Unexpected      Reason = "unexpected"        // of a type that an edge does not send
	UnknownSession  Reason = "unknown_session"   // no such UDP session
	TooManySessions Reason = "too_many_sessions" // the bound of sessions per connection
	QueueFull       Reason = "queue_full"        // the proxy does not keep up
	NoProxy         Reason = "no_proxy"
	TooLarge        Reason = "too_large"  // does not fit a packet towards the edge
	Incomplete      Reason = "incomplete" // fragments of a payload are missing
	NotSent         Reason = "not_sent"   // the connection to the edge is lost, or cannot carry datagrams
)

// Reasons lists all of them.
func Reasons() []Reason {
	return []Reason{Malformed, Unexpected, UnknownSession, TooManySessions, QueueFull, NoProxy, TooLarge, Incomplete, NotSent}
}

// Observer counts. Its methods are called for every datagram and must be cheap.
type Observer interface {
	Datagrams
	// SessionsChanged adds to the number of UDP sessions of a connection.
	SessionsChanged(index tunnel.ConnIndex, v Version, by int)
	// SessionRegistered counts a UDP session whose proxy has accepted it.
	SessionRegistered(index tunnel.ConnIndex, v Version)
	// Told counts a call that told the edge of a session's end.
	Told(took time.Duration, err error)
}

// Datagrams counts the datagrams of an Observer.
type Datagrams interface {
	DatagramReceived()
	DatagramSent()
	DatagramDropped(why Reason)
}

// Limits bound what one connection to the edge can take. They are settings.
type Limits struct {
	// Sessions is the most UDP sessions per connection.
	Sessions int
	// QueueBytes is what may wait for one proxy. What registers and ends sessions may take as much again.
	QueueBytes int
}

// Config is what all sessions of a worker share.
type Config struct {
	Carrier link.Carrier
	// Proxies lists the proxies that a flow may be pinned to; nil means that there is only one.
	Proxies  func() []tunnel.ProxyID
	Observer Observer
	Limits   Limits
	Logger   *slog.Logger
	// RPCTimeout bounds each call to the edge that reports the end of a session.
	RPCTimeout time.Duration
}

// Relay serves sessions.
type Relay struct {
	cfg Config
	// tooLarge bounds how often payloads are logged that the edge cannot take.
	tooLarge rate.Sometimes

	// mu guards homes and left. No other lock is taken while it is held.
	mu sync.Mutex
	// homes has the connection of this worker on which each UDP session is registered: payload may come on any connection.
	homes map[home]*Session
	// left are the UDP sessions of connections that ended, until they are registered elsewhere or have been idle.
	left map[home]leftSession
}

// leftSession is what is needed to register a UDP session again.
type leftSession struct {
	dest netip.AddrPort
	idle time.Duration
	used time.Time
}

// home identifies a UDP session among the sessions of all connectors.
type home struct {
	tunnel    tunnel.ID
	connector tunnel.ConnectorID
	id        datagram.ID
}

// New makes a relay.
func New(cfg Config) *Relay {
	if cfg.Proxies == nil {
		cfg.Proxies = func() []tunnel.ProxyID { return []tunnel.ProxyID{""} }
	}
	return &Relay{cfg: cfg, tooLarge: rate.Sometimes{Interval: time.Minute}, homes: make(map[home]*Session), left: make(map[home]leftSession)}
}

// settle makes s the home of a UDP session, and gives the former one.
func (r *Relay) settle(h home, s *Session) *Session {
	r.mu.Lock()
	defer r.mu.Unlock()
	old := r.homes[h]
	r.homes[h] = s
	delete(r.left, h)
	if old == s {
		return nil
	}
	return old
}

func (r *Relay) leave(h home, s *Session) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.homes[h] == s {
		delete(r.homes, h)
	}
}

// leaveBehind is leave for a connection that ended. At most Limits.Sessions sessions are remembered.
func (r *Relay) leaveBehind(h home, s *Session, e *session) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.homes[h] != s {
		return
	}
	delete(r.homes, h)
	if len(r.left) < r.cfg.Limits.Sessions {
		r.left[h] = leftSession{dest: e.dest, idle: e.idle, used: e.used}
	}
}

// takeLeft gives a session that a connection has left behind, once.
func (r *Relay) takeLeft(h home) (leftSession, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	l, ok := r.left[h]
	delete(r.left, h)
	return l, ok
}

// forgetLeft forgets the sessions left behind that have been idle for too long.
func (r *Relay) forgetLeft(now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for h, l := range r.left {
		if now.Sub(l.used) > forgetAfter(l.idle) {
			delete(r.left, h)
		}
	}
}

func (r *Relay) find(h home) *Session {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.homes[h]
}
