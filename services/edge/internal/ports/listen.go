package ports

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/flexbuf"
	"github.com/culvert-tunnel/culvert/pkg/logkey"
	"github.com/culvert-tunnel/culvert/services/edge/internal/catalog"
)

const (
	// firstPause and lastPause bound the wait after a failed accept, which is mostly a lack of descriptors.
	firstPause = 5 * time.Millisecond
	lastPause  = time.Second
	// probes is how many unanswered keep-alives end a connection, each a probeEvery after the other.
	probes     = 6
	probeEvery = 10 * time.Second
	// bulk is the buffer of one direction of a connection while much comes.
	bulk = 64 << 10
)

// shared is what all TCP ports have in common.
type shared struct {
	cfg     Config
	deps    Deps
	metrics *metrics
	buffers flexbuf.Pool
	// failures bounds how often failed connections are logged.
	failures throttle
}

func newShared(cfg Config, deps Deps, m *metrics) *shared {
	return &shared{cfg: cfg, deps: deps, metrics: m, buffers: flexbuf.Pool{Large: bulk}}
}

// throttle lets one event per second through.
type throttle struct{ last atomic.Int64 }

func (t *throttle) allow(now time.Time) bool {
	last, n := t.last.Load(), now.UnixNano()
	return n-last >= int64(time.Second) && t.last.CompareAndSwap(last, n)
}

// tcpPort is one bound TCP port.
type tcpPort struct {
	*shared
	port     catalog.Port
	listener *net.TCPListener
	running  atomic.Int64
}

var _ Listener = (*tcpPort)(nil)

func listenTCP(ctx context.Context, s *shared, where string, p catalog.Port) (Listener, error) {
	lc := net.ListenConfig{KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: s.cfg.KeepAlive, Interval: probeEvery, Count: probes}}
	l, err := lc.Listen(ctx, "tcp", where)
	if err != nil {
		return nil, err
	}
	tcp, ok := l.(*net.TCPListener)
	if !ok {
		return nil, errors.Join(errors.ErrUnsupported, l.Close())
	}
	return &tcpPort{shared: s, port: p, listener: tcp}, nil
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
	pause := firstPause
	for {
		c, err := t.listener.AcceptTCP()
		if accept.Err() != nil {
			if err == nil {
				reset(c)
			}
			return
		}
		if err != nil {
			if !t.rest(accept, t.port, err, pause) {
				return
			}
			pause = min(2*pause, lastPause)
			continue
		}
		pause = firstPause
		if t.running.Add(1) > int64(t.cfg.MaxConnections) {
			t.refuse(c)
			continue
		}
		visitors.Go(func() {
			defer t.running.Add(-1)
			newVisitor(t, c).serve(carry)
		})
	}
}

// rest waits after a failed accept or read; it reports false when the port was closed.
func (s *shared) rest(ctx context.Context, p catalog.Port, err error, pause time.Duration) bool {
	if errors.Is(err, net.ErrClosed) {
		return false
	}
	if s.failures.allow(time.Now()) {
		s.deps.Logger.WarnContext(ctx, "public port cannot accept", slog.String(logkey.Port, p.Name()), slog.Any(logkey.Err, err))
	}
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// refuse turns a visitor away who is one too many.
func (t *tcpPort) refuse(c *net.TCPConn) {
	t.running.Add(-1)
	reset(c)
	t.metrics.results[resultLimited].Inc()
	if t.failures.allow(time.Now()) {
		t.deps.Logger.Warn("public port has too many connections", slog.String(logkey.Port, t.port.Name()), slog.Int(logkey.Limit, t.cfg.MaxConnections))
	}
}

// reset closes a connection so that its peer sees an error.
func reset(c *net.TCPConn) {
	_ = c.SetLinger(0) // fails only on a dead connection
	_ = c.Close()      // nothing is left to be delivered
}
