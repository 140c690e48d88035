package quic_test

import (
	"crypto/tls"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/culvert-tunnel/culvert/pkg/transport/quic"
)

// gate counts handshakes.
type gate struct {
	loaded, refuse bool
	running        atomic.Int64
	left           chan struct{}
}

func (g *gate) Enter(remote netip.AddrPort, abort func()) (func(), bool) {
	if g.refuse || !remote.IsValid() || abort != nil {
		return nil, false
	}
	g.running.Add(1)
	return func() {
		g.running.Add(-1)
		close(g.left)
	}, true
}

func (g *gate) Loaded() bool { return g.loaded }

func TestRetryUnderLoad(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		loaded bool
	}{{"idle", false}, {"loaded", true}} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			cert, pool := certificate(t, quic.ServerName)
			g := &gate{loaded: c.loaded, left: make(chan struct{})}
			l, err := quic.Listen(quic.ListenConfig{
				Addr: netip.MustParseAddrPort(
					"127.0.0.1:0",
				),
				TLS:      &tls.Config{Certificates: []tls.Certificate{cert}},
				Settings: quic.EdgeSettings(),
				Gate:     g,
			})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = l.Close() })
			front, retries := relay(t, l.Addr())
			s, err := quic.Dial(t.Context(), quic.DialConfig{Edge: front, TLS: quic.ClientTLS(pool, false), Settings: quic.ConnectorSettings()})
			if err != nil {
				t.Fatal(err)
			}
			defer s.CloseWithError(0, "")
			edge, err := l.Accept(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			defer edge.CloseWithError(0, "")
			<-g.left
			if got := retries.Load() > 0; got != c.loaded || g.running.Load() != 0 {
				t.Errorf("%d Retry packets with loaded = %v, %d handshakes still run", retries.Load(), c.loaded, g.running.Load())
			}
		})
	}
}

func TestGateRefusesHandshake(t *testing.T) {
	t.Parallel()
	cert, pool := certificate(t, quic.ServerName)
	l, err := quic.Listen(quic.ListenConfig{
		Addr: netip.MustParseAddrPort(
			"127.0.0.1:0",
		),
		TLS:      &tls.Config{Certificates: []tls.Certificate{cert}},
		Settings: quic.EdgeSettings(),
		Gate:     &gate{refuse: true},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	if s, err := dial(t, l, pool, 0); err == nil {
		_ = s.CloseWithError(0, "")
		t.Error("a handshake that the gate refused was completed")
	}
}

// relay forwards datagrams between one client and the listener, and counts the Retry packets of the listener (RFC 9000 17.2.5).
func relay(t *testing.T, to netip.AddrPort) (netip.AddrPort, *atomic.Int64) {
	t.Helper()
	front, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.MustParseAddrPort("127.0.0.1:0")))
	if err != nil {
		t.Fatal(err)
	}
	back, err := net.DialUDP("udp4", nil, net.UDPAddrFromAddrPort(to))
	if err != nil {
		t.Fatal(err)
	}
	var (
		retries atomic.Int64
		client  atomic.Pointer[netip.AddrPort]
		wg      sync.WaitGroup
	)
	wg.Go(func() {
		b := make([]byte, 2048)
		for {
			n, from, err := front.ReadFromUDPAddrPort(b)
			if err != nil {
				return
			}
			client.Store(&from)
			_, _ = back.Write(b[:n]) // UDP may lose it
		}
	})
	wg.Go(func() {
		b := make([]byte, 2048)
		for {
			n, err := back.Read(b)
			if err != nil {
				return
			}
			if b[0]&0xf0 == 0xf0 {
				retries.Add(1)
			}
			_, _ = front.WriteToUDPAddrPort(b[:n], *client.Load()) // UDP may lose it
		}
	})
	t.Cleanup(func() {
		_, _ = front.Close(), back.Close()
		wg.Wait()
	})
	return front.LocalAddr().(*net.UDPAddr).AddrPort(), &retries
}
