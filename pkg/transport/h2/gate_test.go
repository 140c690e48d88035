package h2_test

import (
	"crypto/tls"
	"io"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/transport/h2"
)

// oneAtATime is a gate with one place, which the newest handshake takes from the one before it.
type oneAtATime struct {
	mu     sync.Mutex
	abort  func()
	refuse bool
	left   int
}

func (g *oneAtATime) Enter(_ netip.AddrPort, abort func()) (func(), bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.refuse {
		return nil, false
	}
	if g.abort != nil {
		g.abort()
	}
	g.abort = abort
	return func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.left++
	}, true
}

func (g *oneAtATime) Loaded() bool { return false }

func TestGateBoundsHandshakes(t *testing.T) {
	t.Parallel()
	settings := h2.EdgeSettings()
	settings.HandshakeTimeout = time.Hour // nothing in this test ends because of time
	cert, pool := certificate(t, h2.ServerName)
	gate := &oneAtATime{}
	l, err := h2.Listen(h2.ListenConfig{
		Addr: netip.MustParseAddrPort("127.0.0.1:0"), TLS: &tls.Config{Certificates: []tls.Certificate{cert}}, Settings: settings, Gate: gate,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	silent, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	s, err := h2.Dial(t.Context(), h2.DialConfig{Edge: l.Addr(), TLS: h2.ClientTLS(pool, false), Settings: h2.ConnectorSettings()})
	if err != nil {
		t.Fatalf("dial while a silent socket has the place: %v", err)
	}
	defer s.CloseWithError(0, "")
	edge, err := l.Accept(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer edge.CloseWithError(0, "")
	if n, err := silent.Read(make([]byte, 1)); err == nil {
		t.Errorf("the evicted socket read %d bytes", n)
	}
	gate.mu.Lock()
	gate.refuse = true
	gate.mu.Unlock()
	refused, err := net.Dial("tcp", l.Addr().String())
	if err == nil { // the kernel accepts before the gate is asked
		if _, err = io.ReadAll(refused); err != nil {
			t.Logf("refused socket: %v", err)
		}
		_ = refused.Close()
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if gate.left != 2 {
		t.Errorf("%d places were given back, want 2", gate.left)
	}
}

func TestUnspecifiedIPv4AddressIsIPv4Only(t *testing.T) {
	t.Parallel()
	cert, _ := certificate(t, h2.ServerName)
	l, err := h2.Listen(h2.ListenConfig{
		Addr: netip.MustParseAddrPort("0.0.0.0:0"), TLS: &tls.Config{Certificates: []tls.Certificate{cert}}, Settings: h2.EdgeSettings(),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	if c, err := net.Dial("tcp", netip.AddrPortFrom(netip.IPv6Loopback(), l.Addr().Port()).String()); err == nil {
		_ = c.Close()
		t.Error("a listener on 0.0.0.0 accepts over IPv6")
	}
}
