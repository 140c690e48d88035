package relay

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/link"
	"github.com/culvert-tunnel/culvert/pkg/logkey"
	"github.com/culvert-tunnel/culvert/pkg/remoteconfig"
	"github.com/culvert-tunnel/culvert/pkg/transport"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
	"github.com/culvert-tunnel/culvert/pkg/wire/datagram"
	"github.com/culvert-tunnel/culvert/pkg/wire/rpc"
	"github.com/culvert-tunnel/culvert/pkg/wire/stream"
)

const (
	// firstSize is the buffer for a stream's first bytes: a request's message, and often its body, fit.
	firstSize = 16 << 10
	// pollTime is how often a draining session looks whether it is idle.
	pollTime = 10 * time.Millisecond
	// quietTime must pass without a flow after the registration was taken back: requests may have been on their way.
	quietTime = 50 * time.Millisecond
	// settleTime must pass after a flow ended: the last bytes of its response may still be on their way, and closing a
	// session throws away what was not acknowledged.
	settleTime = 300 * time.Millisecond
)

var errUnsupported = fmt.Errorf("remote configuration is not supported yet: %w", errors.ErrUnsupported)

// The responses of the connector itself.
const (
	noProxy = "no proxy is available"
	tooMany = "too many requests at a time"
)

// Outcome says how a stream ended.
type Outcome string

// The outcomes.
const (
	Done        Outcome = "done"
	Aborted     Outcome = "aborted"      // the visitor, the origin or the session went away
	ProxyLost   Outcome = "proxy_lost"   // the proxy went away in the middle
	NotAccepted Outcome = "not_accepted" // no proxy accepted it
	Unknown     Outcome = "unknown"      // not a kind of stream that we know
	RPC         Outcome = "rpc"
	Refused     Outcome = "refused" // beyond a limit
	Panicked    Outcome = "panicked"
)

// Outcomes lists all of them.
func Outcomes() []Outcome {
	return []Outcome{Done, Aborted, ProxyLost, NotAccepted, Unknown, RPC, Refused, Panicked}
}

// Observer counts. Its methods are called for every stream and must be cheap.
type Observer interface {
	StreamOpened()
	StreamEnded(o Outcome)
	// Served counts a call of the edge that took so long; err is what it failed with.
	Served(m Method, took time.Duration, err error)
}

// Method is a call that an edge may make. The names are those of the reference's metrics (docs/spec/lifecycle.md 10.3).
type Method string

// The methods.
const (
	UpdateConfiguration  Method = "update_configuration"
	RegisterUDPSession   Method = "register_udp_session"
	UnregisterUDPSession Method = "unregister_udp_session"
)

// Methods lists all of them.
func Methods() []Method {
	return []Method{UpdateConfiguration, RegisterUDPSession, UnregisterUDPSession}
}

// Applier puts configurations in force that the edge pushes; see package remoteconfig.
type Applier interface {
	Apply(ctx context.Context, u remoteconfig.Update) (applied int32, err error)
}

// ForTunnel completes updates of one session, which do not name their tunnel.
type ForTunnel struct {
	Applier
	Tunnel tunnel.ID
}

// Apply adds the tunnel to u.
func (f ForTunnel) Apply(ctx context.Context, u remoteconfig.Update) (int32, error) {
	u.Tunnel = f.Tunnel
	return f.Applier.Apply(ctx, u)
}

// Datagrams passes the datagrams of one session on; package udp does. The handler is for the calls of datagram v2.
type Datagrams interface {
	rpc.SessionHandler
	// Serve passes them on until the session ends, and waits for the flows.
	Serve()
}

// Config is what all sessions of a worker share.
type Config struct {
	Carrier link.Carrier
	// Datagrams makes what passes the datagrams of one session on; it does nothing before Serve.
	Datagrams func(s transport.Session, meta link.Meta, o Options) Datagrams
	Applier   Applier
	Observer  Observer
	Logger    *slog.Logger
	// RPCTimeout bounds the time that an RPC stream is served.
	RPCTimeout time.Duration
	Limits     Limits
}

// Relay serves sessions.
type Relay struct {
	cfg      Config
	buffers  sync.Pool
	inFlight count         // of all sessions
	refusing chan struct{} // a token for each stream that is being refused
}

// New makes a relay.
func New(cfg Config) *Relay {
	return &Relay{
		cfg: cfg, buffers: sync.Pool{New: func() any { return new([firstSize]byte) }},
		refusing: make(chan struct{}, refusals),
	}
}

// Options are what was agreed with the edge for one session.
type Options struct {
	// DatagramV3 says that the registration announced datagram v3; else datagrams are v2 (docs/spec/wire.md 10, 11).
	DatagramV3 bool
}

// Session serves one transport session.
type Session struct {
	relay     *Relay
	session   transport.Session
	meta      link.Meta
	datagrams Datagrams
	inFlight  count
	// lastEnd is when the last flow ended, in nanoseconds of the wall clock; it is compared with itself only.
	lastEnd atomic.Int64
	flows   sync.WaitGroup
	runners runners
}

// Session makes a Session; nothing is accepted before Serve.
func (r *Relay) Session(s transport.Session, meta link.Meta, o Options) *Session {
	return &Session{relay: r, session: s, meta: meta, datagrams: r.cfg.Datagrams(s, meta, o)}
}

// InFlight is the number of streams that are being served.
func (s *Session) InFlight() int { return int(s.inFlight.n.Load()) }

// Serve accepts streams until the session ends, waits for the flows, and says why the session ended.
func (s *Session) Serve() error {
	ctx := s.session.Context()
	s.flows.Go(s.datagrams.Serve)
	s.flows.Go(func() { s.runners.trimLoop(ctx) })
	defer s.flows.Wait()
	defer s.runners.close()
	for {
		st, err := s.session.AcceptStream(ctx)
		if err != nil {
			if ctx.Err() == nil {
				_ = s.session.CloseWithError(transport.NoError, "") // the accept error says more
				return err
			}
			return context.Cause(ctx)
		}
		if !s.admit() {
			s.turnAway(st)
			continue
		}
		s.start(ctx, st)
	}
}

// Drained waits until no flow is left and none can be on its way, or ctx ends.
func (s *Session) Drained(ctx context.Context) {
	ticker := time.NewTicker(pollTime)
	defer ticker.Stop()
	idleSince := time.Now()
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.session.Context().Done():
			return
		case now := <-ticker.C:
			if s.InFlight() > 0 {
				idleSince = now
				continue
			}
			settled := now.Sub(time.Unix(0, s.lastEnd.Load())) >= settleTime
			if settled && now.Sub(idleSince) >= quietTime {
				return
			}
		}
	}
}

// serve runs one stream.
func (s *Session) serve(ctx context.Context, r *runner, st transport.Stream) {
	o := s.relay.cfg.Observer
	outcome := Panicked
	o.StreamOpened()
	defer func() {
		if p := recover(); p != nil {
			abort(st)
			s.relay.cfg.Logger.ErrorContext(ctx, "flow panicked", slog.Any(logkey.Err, p), slog.String(logkey.Stack, string(debug.Stack())))
		}
		o.StreamEnded(outcome)
		s.lastEnd.Store(time.Now().UnixNano())
	}()
	buf, _ := s.relay.buffers.Get().(*[firstSize]byte)
	defer s.relay.buffers.Put(buf)
	n, eof, kind, err := s.first(&r.guard, st, buf[:])
	switch {
	case err != nil:
		abort(st)
		outcome = Unknown
	case kind == stream.KindRPC:
		s.rpc(ctx, st, buf[stream.SignatureSize:n])
		outcome = RPC
	default:
		outcome = s.carry(ctx, st, buf[:n], eof)
	}
}

// first reads until the kind of the stream is known, for at most HeadTimeout.
func (s *Session) first(g *guard, st transport.Stream, buf []byte) (n int, eof bool, kind stream.Kind, err error) {
	if limit := s.relay.cfg.Limits.HeadTimeout; limit > 0 {
		g.begin(st, limit)
		defer g.end()
	}
	for {
		m, readErr := st.Read(buf[n:])
		n += m
		eof = errors.Is(readErr, io.EOF)
		kind, err = stream.Detect(buf[:n])
		if !errors.Is(err, stream.ErrShort) {
			return n, eof, kind, err
		}
		if readErr != nil {
			return n, eof, 0, readErr
		}
	}
}

func (s *Session) carry(ctx context.Context, st transport.Stream, b []byte, eof bool) Outcome {
	if limit := s.relay.cfg.Limits.WriteTimeout; limit > 0 {
		st = &hurried{st, limit}
	}
	err := s.relay.cfg.Carrier.Carry(ctx, link.Flow{Meta: s.meta, Stream: st, First: b, EOF: eof})
	switch {
	case err == nil:
		return Done
	case errors.Is(err, link.ErrNotAccepted):
		refuse(st, noProxy)
		s.relay.cfg.Logger.DebugContext(ctx, "no proxy accepted a flow", slog.Any(logkey.Err, err))
		return NotAccepted
	case errors.Is(err, link.ErrLost):
		return ProxyLost
	default:
		return Aborted
	}
}

// refuse writes a response of the connector itself; it ignores errors, which mean that the edge has closed the stream.
func refuse(st transport.Stream, text string) {
	// The status is beyond the wire's own error: our edge concludes from it that no origin has seen the request.
	resp := stream.Response{Error: text, Metadata: []stream.Pair{{Key: stream.KeyStatus, Val: "503"}}}
	b, err := resp.Append(nil)
	if err == nil {
		_, err = st.Write(b)
	}
	if err != nil {
		abort(st)
		return
	}
	st.CancelRead(transport.NoError)
	_ = st.CloseWrite()
}

func abort(st transport.Stream) {
	st.CancelRead(transport.NoError)
	st.CancelWrite(transport.NoError)
}

// rpc serves one edge-opened RPC stream for a bounded time (docs/spec/wire.md 5.6).
func (s *Session) rpc(ctx context.Context, st transport.Stream, rest []byte) {
	ctx, cancel := context.WithTimeout(ctx, s.relay.cfg.RPCTimeout)
	defer cancel()
	rw := &prefixed{ReadWriteCloser: rpc.StreamConn(st), prefix: append([]byte(nil), rest...)}
	err := rpc.ServeConnector(ctx, rw, handler{ForTunnel{s.relay.cfg.Applier, s.meta.Tunnel}, s.datagrams, s.relay.cfg.Observer})
	if err != nil && ctx.Err() == nil {
		s.relay.cfg.Logger.DebugContext(ctx, "rpc stream ended", slog.Any(logkey.Err, err))
	}
}

// handler has the methods that an edge may call, and counts the calls.
type handler struct {
	configuration rpc.ConfigurationHandler
	sessions      rpc.SessionHandler
	observer      Observer
}

// Apply puts an update in force.
func (h handler) Apply(ctx context.Context, u remoteconfig.Update) (int32, error) {
	began := time.Now()
	applied, err := h.configuration.Apply(ctx, u)
	h.observer.Served(UpdateConfiguration, time.Since(began), err)
	return applied, err
}

// RegisterUDPSession registers a session of datagram v2.
func (h handler) RegisterUDPSession(ctx context.Context, s rpc.UDPSession) ([]byte, error) {
	began := time.Now()
	spans, err := h.sessions.RegisterUDPSession(ctx, s)
	h.observer.Served(RegisterUDPSession, time.Since(began), err)
	return spans, err
}

// UnregisterUDPSession ends a session of datagram v2.
func (h handler) UnregisterUDPSession(ctx context.Context, id [datagram.IDSize]byte, message string) error {
	began := time.Now()
	err := h.sessions.UnregisterUDPSession(ctx, id, message)
	h.observer.Served(UnregisterUDPSession, time.Since(began), err)
	return err
}

// prefixed is a stream whose first bytes were read already; Read returns them first.
type prefixed struct {
	io.ReadWriteCloser
	prefix []byte
}

// Read gives the prefix first.
func (p *prefixed) Read(b []byte) (int, error) {
	if len(p.prefix) == 0 {
		return p.ReadWriteCloser.Read(b)
	}
	n := copy(b, p.prefix)
	p.prefix = p.prefix[n:]
	return n, nil
}

// Unsupported refuses every configuration that an edge pushes.
type Unsupported struct{}

// Apply rejects the update.
func (Unsupported) Apply(context.Context, remoteconfig.Update) (int32, error) {
	return remoteconfig.LocalVersion, remoteconfig.Reject(errUnsupported)
}
