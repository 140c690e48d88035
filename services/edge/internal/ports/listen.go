package ports

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/culvert-tunnel/culvert/pkg/flexbuf"
	"github.com/culvert-tunnel/culvert/pkg/logkey"
	"github.com/culvert-tunnel/culvert/services/edge/internal/catalog"
	"github.com/culvert-tunnel/culvert/services/edge/internal/dispatch"
	"github.com/culvert-tunnel/culvert/services/edge/internal/share"
)

const (
	// minBackoff and maxBackoff bound the wait after a failed accept, which is mostly a lack of file descriptors.
	minBackoff = 5 * time.Millisecond
	maxBackoff = time.Second
	// keepAliveCount unanswered keep-alive probes, keepAliveInterval apart, end a connection.
	keepAliveCount    = 6
	keepAliveInterval = 10 * time.Second
	// bufferSize is the buffer of one direction of a busy connection.
	bufferSize = 64 << 10
	// logInterval is the least time between two warnings.
	logInterval = time.Second
)

// shared is what all ports have in common.
type shared struct {
	cfg     Config
	deps    Deps
	metrics *metrics
	sender  *dispatch.Sender
	buffers flexbuf.Pool
	// warnings bounds how often failures are logged.
	warnings *rate.Limiter
}

func newShared(cfg Config, deps Deps, m *metrics) *shared {
	return &shared{
		cfg: cfg, deps: deps, metrics: m, sender: dispatch.NewSender(deps.Conns, m.retries), buffers: flexbuf.Pool{Large: bufferSize},
		warnings: rate.NewLimiter(rate.Every(logInterval), 1),
	}
}

// tcpPort is one bound TCP port.
type tcpPort struct {
	*shared
	port     catalog.Port
	listener *net.TCPListener

	mu     sync.Mutex // guards places
	places *share.Counter[netip.Prefix]
}

var _ Listener = (*tcpPort)(nil)

func listenTCP(ctx context.Context, s *shared, where string, p catalog.Port) (Listener, error) {
	lc := net.ListenConfig{KeepAliveConfig: net.KeepAliveConfig{
		Enable: true, Idle: s.cfg.KeepAlive, Interval: keepAliveInterval, Count: keepAliveCount,
	}}
	l, err := lc.Listen(ctx, network("tcp", where), where)
	if err != nil {
		return nil, err
	}
	tcp, ok := l.(*net.TCPListener)
	if !ok {
		return nil, errors.Join(errors.ErrUnsupported, l.Close())
	}
	limits := share.Limits{Total: int64(s.cfg.MaxConnections), PerKey: s.cfg.perAddress()}
	return &tcpPort{shared: s, port: p, listener: tcp, places: share.NewCounter[netip.Prefix](limits)}, nil
}

// network limits a socket on an IPv4 address, also on 0.0.0.0, to IPv4: by itself Go makes it one of both families.
func network(name, where string) string {
	if ap, err := netip.ParseAddrPort(where); err == nil && ap.Addr().Unmap().Is4() {
		return name + "4"
	}
	return name
}

// Addr is the bound address.
func (t *tcpPort) Addr() netip.AddrPort { return addrOf(t.listener.Addr()) }

func addrOf(a net.Addr) netip.AddrPort {
	tcp, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.AddrPort{}
	}
	ap := tcp.AddrPort()
	return netip.AddrPortFrom(ap.Addr().Unmap().WithZone(""), ap.Port())
}

// Close frees the port.
func (t *tcpPort) Close() error {
	if err := t.listener.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
		return err
	}
	return nil
}

// Serve accepts visitors until accept ends, and returns when all of them have ended.
func (t *tcpPort) Serve(accept, carry context.Context) {
	unhook := context.AfterFunc(accept, func() { _ = t.Close() }) // wakes the loop
	defer unhook()
	var visitors sync.WaitGroup
	defer visitors.Wait()
	backoff := minBackoff
	for {
		c, err := t.listener.AcceptTCP()
		if accept.Err() != nil {
			if err == nil {
				reset(c)
			}
			return
		}
		if err != nil {
			if !t.backOff(accept, t.port, err, backoff) {
				return
			}
			backoff = min(2*backoff, maxBackoff)
			continue
		}
		backoff = minBackoff
		from := share.Network(addrOf(c.RemoteAddr()).Addr())
		if verdict := t.take(from); verdict != share.Granted {
			t.refuse(c, verdict)
			continue
		}
		visitors.Go(func() {
			defer t.give(from)
			newVisitor(t, c).serve(carry)
		})
	}
}

// take takes a place for a connection from a network of addresses.
func (t *tcpPort) take(from netip.Prefix) share.Verdict {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.places.Take(from, 1)
}

func (t *tcpPort) give(from netip.Prefix) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.places.Give(from, 1)
}

// backOff waits after a failed accept or read; it reports false when the port was closed.
func (s *shared) backOff(ctx context.Context, p catalog.Port, err error, wait time.Duration) bool {
	if errors.Is(err, net.ErrClosed) {
		return false
	}
	if s.warnings.Allow() {
		s.deps.Logger.WarnContext(ctx, "public port cannot accept", slog.String(logkey.Port, p.Name()), slog.Any(logkey.Err, err))
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// refuse resets a connection beyond a limit.
func (t *tcpPort) refuse(c *net.TCPConn, verdict share.Verdict) {
	reset(c)
	end, limit := limited, int64(t.cfg.MaxConnections)
	if verdict == share.OverShare {
		end, limit = overShare, t.cfg.perAddress()
	}
	t.metrics.connEndings[end].Inc()
	if t.warnings.Allow() {
		t.deps.Logger.Warn("public port has too many connections", slog.String(logkey.Port, t.port.Name()),
			slog.String(logkey.Reason, verdict.String()), slog.Int64(logkey.Limit, limit))
	}
}

// reset closes a connection so that its peer sees an error.
func reset(c *net.TCPConn) {
	_ = c.SetLinger(0) // fails only on a dead connection
	_ = c.Close()      // nothing is left to be delivered
}
