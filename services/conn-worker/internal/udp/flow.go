package udp

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/link"
	"github.com/culvert-tunnel/culvert/pkg/link/packet"
	"github.com/culvert-tunnel/culvert/pkg/logkey"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
	"github.com/culvert-tunnel/culvert/pkg/wire/datagram"
)

const (
	// A proxy whose flow failed is left alone for a time that doubles.
	troubleMin = 100 * time.Millisecond
	troubleMax = 5 * time.Second
	// A flow that lasted that long, and on which the proxy sent a message, does not count as failed.
	soundLife = time.Second
)

var (
	errNoProxy = errors.New("no proxy is available")
	errBusy    = errors.New("proxy does not keep up")
	errTooMany = errors.New("too many active flows")
)

// trouble records the failed flows of a proxy.
type trouble struct {
	until time.Time
	wait  time.Duration
}

// flow is the way to one proxy.
type flow struct {
	proxy tunnel.ProxyID
	pipe  *pipe
	began time.Time
	// out is the buffer of take, which one goroutine at a time calls.
	out []byte

	// The Session's mu guards the rest.
	sessions int
	used     time.Time
	spoke    bool
}

func contains(ids []tunnel.ProxyID, id tunnel.ProxyID) bool { return slices.Contains(ids, id) }

// askLocked registers e at a proxy: at the one it has, or at the one that its id chooses.
func (s *Session) askLocked(e *session, payload []byte) error {
	if e.flow == nil {
		f, err := s.flowLocked(e.id[:])
		if err != nil {
			return err
		}
		e.flow = f
		f.sessions++
	}
	e.flow.used = e.used
	m := packet.Message{Type: packet.Register, ID: e.id, Dest: e.dest, Idle: e.idle, WantResult: true, Data: payload}
	if !e.flow.pipe.put(&m, true) {
		e.flow.sessions--
		e.flow = nil
		return errBusy
	}
	return nil
}

// flowLocked gives the flow to the proxy that key chooses among those without trouble, and begins it if need be.
func (s *Session) flowLocked(key []byte) (*flow, error) {
	if s.over {
		return nil, errNotHere
	}
	now := time.Now()
	ids := s.cfg.Proxies()
	if len(s.trouble) > 0 {
		ids = slices.DeleteFunc(slices.Clone(ids), func(id tunnel.ProxyID) bool { return now.Before(s.trouble[id].until) })
	}
	id, ok := choose(ids, key)
	if !ok {
		return nil, errNoProxy
	}
	f := s.flows[id]
	if f == nil {
		f = &flow{proxy: id, began: now}
		f.pipe = newPipe(s.session.Context(), s.cfg.Limits.QueueBytes, func(m *packet.Message) { s.take(f, m) })
		s.flows[id] = f
		s.tasks.Go(func() { s.carry(f) })
	}
	f.used = now
	return f, nil
}

// carry runs a flow to its end.
func (s *Session) carry(f *flow) {
	ctx := s.session.Context()
	err := s.cfg.Carrier.Carry(ctx, link.Flow{Meta: s.meta, Stream: f.pipe, Proxy: f.proxy})
	f.pipe.fail(errOver)
	if ctx.Err() == nil && err != nil {
		s.cfg.Logger.DebugContext(ctx, "datagram flow ended", slog.String(logkey.ProxyID, string(f.proxy)), slog.Any(logkey.Err, err))
	}
	s.lost(f)
}

// lost moves the sessions of a flow that ended. Those of a sound one go back to the same proxy first, where their sockets
// are if only the link broke.
func (s *Session) lost(f *flow) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.flows[f.proxy] == f {
		delete(s.flows, f.proxy)
	}
	if s.over || s.session.Context().Err() != nil {
		return
	}
	now := time.Now()
	if f.spoke && now.Sub(f.began) >= soundLife {
		delete(s.trouble, f.proxy)
	} else {
		t := s.trouble[f.proxy]
		t.wait = min(max(2*t.wait, troubleMin), troubleMax)
		t.until = now.Add(t.wait)
		s.trouble[f.proxy] = t
	}
	for _, e := range s.sessions {
		if e.flow == f {
			e.flow = nil
			_ = s.askLocked(e, nil) // without a proxy: tidy and the next payload try again
		}
	}
}

// take handles one message of a proxy.
func (s *Session) take(f *flow, m *packet.Message) {
	switch m.Type {
	case packet.Payload:
		if s.heard(f, m.ID) {
			s.sendPayload(f, m)
		} else if other := s.relay.find(s.home(m.ID)); other != nil && other != s && other.revive(m.ID) {
			// The edge registered the session over two connections, and the registrations overtook each other on their ways
			// to the proxy: it responds to the connection that the session has left.
			other.sendPayload(f, m)
		}
	case packet.ICMP:
		s.mark(f)
		s.sendICMP(f, m.Data)
	case packet.Registered:
		s.registered(f, m)
	case packet.Ended:
		s.ended(f, m)
	case packet.Unknown:
		s.registerAgain(f, m.ID)
	default: // of a later version
	}
}

// heard records that a session is in use. It reports false if the session has left this flow.
func (s *Session) heard(f *flow, id datagram.ID) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	f.spoke = true
	e := s.sessions[id]
	if e == nil || e.flow != f {
		return false
	}
	e.used = time.Now()
	f.used = e.used
	return true
}

// revive records that a session is in use whose payload came on the flow of another connection. It reports false if this
// connection does not have the session.
func (s *Session) revive(id datagram.ID) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.sessions[id]
	if e == nil {
		return false
	}
	e.used = time.Now()
	return true
}

func (s *Session) mark(f *flow) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f.spoke = true
	f.used = time.Now()
}

// registered passes the proxy's response to the waiting call. A refusal ends the session.
func (s *Session) registered(f *flow, m *packet.Message) {
	s.mu.Lock()
	f.spoke = true
	e := s.sessions[m.ID]
	if e == nil || e.flow != f {
		s.mu.Unlock()
		return
	}
	awaiting, response := e.awaiting, e.response
	e.awaiting, e.response = false, nil
	if m.Result == datagram.ResultOK && !e.counted {
		e.counted = true
		s.cfg.Observer.SessionRegistered(s.meta.Index, s.version)
	}
	if m.Result != datagram.ResultOK {
		s.forgetLocked(m.ID)
	}
	s.mu.Unlock()
	switch {
	case response != nil:
		response <- packet.Message{Type: m.Type, Result: m.Result, Text: m.Text} // it has room
	case awaiting && s.version == V3:
		s.respond(m.ID, m.Result, m.Text)
	case m.Result != datagram.ResultOK && s.version == V2:
		s.tell(m.ID, refusal(m.Result, m.Text))
	}
}

// ended forgets a session that the proxy closed. In version 2 the edge is notified.
func (s *Session) ended(f *flow, m *packet.Message) {
	s.mu.Lock()
	f.spoke = true
	e := s.sessions[m.ID]
	here := e != nil && e.flow == f
	if here {
		s.forgetLocked(m.ID)
	}
	s.mu.Unlock()
	if here && s.version == V2 {
		s.tell(m.ID, m.Text)
	}
}

// registerAgain registers a session that its proxy has lost.
func (s *Session) registerAgain(f *flow, id datagram.ID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f.spoke = true
	if e := s.sessions[id]; e != nil && e.flow == f {
		_ = s.askLocked(e, nil) // without room the next payload leads here again
	}
}

// refusal is the text of a result in a call's response.
func refusal(r datagram.Result, text string) string {
	switch {
	case r == datagram.ResultTooManyFlows:
		return limited
	case text != "":
		return text
	default:
		return r.String()
	}
}

// limited is the reference's text for a flow limit (docs/spec/wire.md 10).
const limited = "failed to start udp session due to rate limiting: too many active flows"

// withTimeout bounds one call to the edge.
func (s *Session) withTimeout() (context.Context, context.CancelFunc) {
	return context.WithTimeout(s.session.Context(), s.cfg.RPCTimeout)
}
