package udp

import (
	"context"
	"errors"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/link"
	"github.com/culvert-tunnel/culvert/pkg/link/packet"
	"github.com/culvert-tunnel/culvert/pkg/transport"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
	"github.com/culvert-tunnel/culvert/pkg/wire/datagram"
	"github.com/culvert-tunnel/culvert/pkg/wire/rpc"
)

// Version is the datagram version that a connection announced.
type Version uint8

// The versions.
const (
	V2 Version = 2
	V3 Version = 3
)

// String is the version as a label: v2 or v3.
func (v Version) String() string {
	if v == V3 {
		return "v3"
	}
	return "v2"
}

const (
	// tidyEvery is how often a session looks for UDP sessions without a flow, and for flows and sessions without use.
	tidyEvery = 500 * time.Millisecond
	// flowIdle is how long a flow without sessions is kept.
	flowIdle = 10 * time.Second
	// forgetFactor: after this many idle times a session is forgotten although the proxy has not reported its end.
	forgetFactor = 2
	// tellers bounds the calls to the edge that run at the same time.
	tellers = 16
)

var errNotHere = errors.New("connection to the edge is over")

// session is the state of a UDP session.
type session struct {
	id   datagram.ID
	dest netip.AddrPort
	idle time.Duration
	used time.Time
	// flow is nil while the session is at no proxy.
	flow *flow
	// counted says that the first acceptance was counted.
	counted bool
	// awaiting means that the edge waits for a response of v3; response is the channel of a waiting call of v2.
	awaiting bool
	response chan packet.Message
}

// Session forwards the datagrams of one session to the edge.
type Session struct {
	relay   *Relay
	cfg     *Config
	session transport.Session
	meta    link.Meta
	version Version
	// tasks are the goroutines of Serve.
	tasks sync.WaitGroup
	// fragments says that the edge takes fragments, number counts the payloads that were sent as fragments.
	fragments atomic.Bool
	number    atomic.Uint32
	// incomplete are the payloads of which fragments have come; it belongs to Serve.
	incomplete datagram.Reassembler
	// telling has a token for each running call to the edge.
	telling chan struct{}

	// mu guards the rest. Messages are queued under it, nothing is sent.
	mu       sync.Mutex
	over     bool
	sessions map[datagram.ID]*session
	flows    map[tunnel.ProxyID]*flow
	trouble  map[tunnel.ProxyID]trouble
}

// Session makes the serving of one session; nothing happens before Serve.
func (r *Relay) Session(s transport.Session, meta link.Meta, v Version) *Session {
	meta.Kind = link.KindDatagrams
	return &Session{
		relay: r, cfg: &r.cfg, session: s, meta: meta, version: v, telling: make(chan struct{}, tellers),
		sessions: make(map[datagram.ID]*session), flows: make(map[tunnel.ProxyID]*flow), trouble: make(map[tunnel.ProxyID]trouble),
	}
}

// Serve receives datagrams until the session ends, and waits for the flows.
func (s *Session) Serve() {
	ctx := s.session.Context()
	s.tasks.Go(func() { s.tidyLoop(ctx) })
	for {
		b, err := s.session.ReceiveDatagram(ctx)
		if err != nil {
			break
		}
		s.cfg.Observer.DatagramReceived()
		if s.version == V3 {
			s.receiveV3(b)
		} else {
			s.receiveV2(b)
		}
	}
	<-ctx.Done() // a session that cannot carry datagrams still has calls
	s.end()
	s.tasks.Wait()
}

// end forgets everything. The flows end with the session; what the proxies keep waits for another connection. The relay remembers
// what it takes to register the sessions on another connection.
func (s *Session) end() {
	s.mu.Lock()
	s.over = true
	n := len(s.sessions)
	for id, e := range s.sessions {
		s.relay.leaveBehind(s.home(id), s, e)
		if e.response != nil {
			close(e.response)
		}
	}
	clear(s.sessions)
	s.mu.Unlock()
	s.changed(-n)
}

func (s *Session) home(id datagram.ID) home {
	return home{tunnel: s.meta.Tunnel, connector: s.meta.Connector, id: id}
}

func (s *Session) changed(by int) { s.cfg.Observer.SessionsChanged(s.meta.Index, s.version, by) }

func (s *Session) drop(why Reason) { s.cfg.Observer.DatagramDropped(why) }

// register remembers a session, or renews what is known of it, and registers it at its proxy. response may be nil.
func (s *Session) register(id datagram.ID, dest netip.AddrPort, idle time.Duration, payload []byte, response chan packet.Message) error {
	old, err := s.remember(id, dest, idle, response)
	if err != nil {
		return err
	}
	// Before the request to the proxy: after its response the edge may send payload on any connection.
	if old != nil {
		old.movedOn(id)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.sessions[id]
	if e == nil {
		return errNotHere // the connection ended, or the session moved on
	}
	return s.askLocked(e, payload)
}

// takeOver registers a session that another connection has left behind, with a payload for it.
func (s *Session) takeOver(id datagram.ID, l leftSession, payload []byte) error {
	s.mu.Lock()
	e, old, err := s.rememberLocked(id, l.dest, l.idle)
	if err == nil {
		err = s.askLocked(e, payload)
	}
	s.mu.Unlock()
	if old != nil {
		old.movedOn(id)
	}
	return err
}

// remember is rememberLocked for a registration of the edge, whose response goes to the channel or, if that is nil, to the edge.
func (s *Session) remember(
	id datagram.ID, dest netip.AddrPort, idle time.Duration, response chan packet.Message,
) (old *Session, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e, old, err := s.rememberLocked(id, dest, idle)
	if err != nil {
		return nil, err
	}
	if e.response != nil {
		close(e.response) // a newer call for the same session
	}
	e.response, e.awaiting = response, response == nil
	return old, nil
}

// rememberLocked notes what is known of a session and makes this connection its home. old is the connection that was its home before,
// or nil; the caller tells it with movedOn once mu is free. Both happen under one lock: of two connections that register a session at
// the same time, the later one has it afterwards.
func (s *Session) rememberLocked(id datagram.ID, dest netip.AddrPort, idle time.Duration) (e *session, old *Session, err error) {
	if s.over {
		return nil, nil, errNotHere
	}
	e = s.sessions[id]
	if e == nil {
		if len(s.sessions) >= s.cfg.Limits.Sessions {
			return nil, nil, errTooMany
		}
		e = &session{id: id}
		s.sessions[id] = e
		s.changed(1)
	}
	e.dest, e.idle, e.used = dest, idle, time.Now()
	return e, s.relay.settle(s.home(id), s), nil
}

// movedOn drops a session that another connection has registered, unless it has come back meanwhile. Neither edge nor proxy is notified.
func (s *Session) movedOn(id datagram.ID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.relay.find(s.home(id)) != s {
		s.forgetLocked(id)
	}
}

// forget drops the session of a failed registration, unless a newer one waits for its response.
func (s *Session) forget(id datagram.ID, response chan packet.Message) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e := s.sessions[id]; e != nil && e.response == response {
		s.forgetLocked(id)
	}
}

func (s *Session) forgetLocked(id datagram.ID) *session {
	e := s.sessions[id]
	if e == nil {
		return nil
	}
	delete(s.sessions, id)
	s.changed(-1)
	s.relay.leave(s.home(id), s)
	if e.flow != nil {
		e.flow.sessions--
	}
	if e.response != nil {
		close(e.response)
		e.response = nil
	}
	return e
}

// payload passes a payload of the edge on. It may belong to a session of another connection.
func (s *Session) payload(id datagram.ID, data []byte) {
	if s.pass(id, data) {
		return
	}
	h := s.home(id)
	if other := s.relay.find(h); other != nil && other != s && other.pass(id, data) {
		return
	}
	// The edge had registered the session over two connections, and the one that the worker heard of last has ended.
	if l, ok := s.relay.takeLeft(h); ok && s.takeOver(id, l, data) == nil {
		return
	}
	s.drop(UnknownSession)
}

// pass reports whether the session is here.
func (s *Session) pass(id datagram.ID, data []byte) bool {
	s.mu.Lock()
	e := s.sessions[id]
	if e == nil {
		s.mu.Unlock()
		return false
	}
	e.used = time.Now()
	if e.flow == nil && s.askLocked(e, nil) != nil {
		s.mu.Unlock()
		s.drop(NoProxy)
		return true
	}
	f := e.flow
	s.mu.Unlock()
	if !f.pipe.put(&packet.Message{Type: packet.Payload, ID: id, Data: data}, false) {
		s.drop(QueueFull)
	}
	return true
}

// icmp passes a packet of the edge to the proxy that has its ping.
func (s *Session) icmp(b []byte) {
	key := echoKey(b)
	if key == nil {
		s.drop(Malformed)
		return
	}
	s.mu.Lock()
	f, err := s.flowLocked(key)
	s.mu.Unlock()
	if err != nil {
		s.drop(NoProxy)
		return
	}
	if !f.pipe.put(&packet.Message{Type: packet.ICMP, Data: b}, false) {
		s.drop(QueueFull)
	}
}

// send gives one datagram to the edge.
func (s *Session) send(b []byte) {
	err := s.session.SendDatagram(b)
	switch {
	case err == nil:
		s.cfg.Observer.DatagramSent()
	case errors.Is(err, transport.ErrDatagramTooLarge):
		s.drop(TooLarge)
	default:
		s.drop(NotSent)
	}
}

func (s *Session) tidyLoop(ctx context.Context) {
	tick := time.NewTicker(tidyEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			s.tidy(now) //nolint:contextcheck // flows last as long as the session
		}
	}
}

// tidy finds a proxy for sessions that have none, removes idle sessions whose end was not reported, and ends unused flows.
func (s *Session) tidy(now time.Time) {
	staying := s.cfg.Proxies()
	s.relay.forgetLeft(now)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over {
		return
	}
	for id, e := range s.sessions {
		switch {
		case now.Sub(e.used) > forgetAfter(e.idle):
			s.forgetLocked(id)
		case e.flow == nil:
			_ = s.askLocked(e, nil) // the next round or the next payload tries again
		}
	}
	for id, f := range s.flows {
		leaves := !contains(staying, id)
		if f.sessions == 0 && (leaves || now.Sub(f.used) > flowIdle) {
			delete(s.flows, id)
			f.pipe.finish()
		}
	}
	for id, t := range s.trouble {
		if now.Sub(t.until) > troubleMax {
			delete(s.trouble, id)
		}
	}
}

// forgetAfter is the time without use after which a session is forgotten whose idle time is idle.
func forgetAfter(idle time.Duration) time.Duration {
	if idle <= 0 {
		idle = datagram.DefaultIdle
	}
	return forgetFactor * idle
}

var _ rpc.SessionHandler = (*Session)(nil)
