package quic_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/netip"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/culvert-tunnel/culvert/pkg/testkit"
	"github.com/culvert-tunnel/culvert/pkg/transport"
	"github.com/culvert-tunnel/culvert/pkg/transport/quic"
	"github.com/culvert-tunnel/culvert/pkg/transport/transporttest"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestContract(t *testing.T) {
	transporttest.Run(t, func(t *testing.T) (transport.Session, transport.Session) { return pair(t, "127.0.0.1:0") })
}

func TestIPv6(t *testing.T) {
	if l, err := net.ListenPacket("udp6", "[::1]:0"); err != nil {
		t.Skip("no IPv6 loopback")
	} else if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	a, b := pair(t, "[::1]:0")
	if a.RemoteAddr().Addr() != netip.IPv6Loopback() || b.LocalAddr() != a.RemoteAddr() {
		t.Errorf("addresses: dialled %s, listener %s", a.RemoteAddr(), b.LocalAddr())
	}
}

// certificate returns a certificate for a server name, and the pool that trusts it.
func certificate(t *testing.T, name string) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	ca := testkit.NewCA(t)
	return ca.Issue(t, name), ca.Pool()
}

func listen(t *testing.T, addr, name string) (*quic.Listener, *x509.CertPool) {
	t.Helper()
	cert, pool := certificate(t, name)
	l, err := quic.Listen(quic.ListenConfig{
		Addr:     netip.MustParseAddrPort(addr),
		TLS:      &tls.Config{Certificates: []tls.Certificate{cert}},
		Settings: quic.EdgeSettings(),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Errorf("close listener: %v", err)
		}
	})
	return l, pool
}

func dial(t *testing.T, l *quic.Listener, pool *x509.CertPool, port uint16) (*quic.Session, error) {
	t.Helper()
	return quic.Dial(t.Context(), quic.DialConfig{
		Edge:      l.Addr(),
		LocalPort: port,
		TLS:       quic.ClientTLS(pool, false),
		Settings:  quic.ConnectorSettings(),
	})
}

func pair(t *testing.T, addr string) (a, b transport.Session) {
	t.Helper()
	l, pool := listen(t, addr, quic.ServerName)
	d, err := dial(t, l, pool, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.CloseWithError(0, "") })
	d.Admit()
	s, err := l.Accept(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return d, s
}

func TestRememberedPort(t *testing.T) {
	l, pool := listen(t, "127.0.0.1:0", quic.ServerName)
	first, err := dial(t, l, pool, 0)
	if err != nil {
		t.Fatal(err)
	}
	port := first.LocalAddr().Port()
	other, err := dial(t, l, pool, port)
	if err != nil {
		t.Fatalf("dial while the port is taken: %v", err)
	}
	if other.LocalAddr().Port() == port {
		t.Error("one port twice")
	}
	for _, s := range []*quic.Session{first, other} {
		if err := s.CloseWithError(0, ""); err != nil {
			t.Error(err)
		}
	}
	again, err := dial(t, l, pool, port)
	if err != nil {
		t.Fatal(err)
	}
	if got := again.LocalAddr().Port(); got != port {
		t.Errorf("port after close = %d, want %d again", got, port)
	}
	if err := again.CloseWithError(0, ""); err != nil {
		t.Error(err)
	}
}

// TestFirstPacket: size, version and connection ids of what an edge sees first (docs/spec/wire.md 4).
func TestFirstPacket(t *testing.T) {
	for addr, size := range map[string]int{"127.0.0.1:0": 1232, "[::1]:0": 1252} {
		c, err := net.ListenPacket("udp", addr)
		if err != nil {
			t.Logf("%s left out: %v", addr, err)
			continue
		}
		ctx, cancel := context.WithCancel(t.Context())
		dialled := make(chan error, 1)
		go func() {
			_, err := quic.Dial(ctx, quic.DialConfig{
				Edge: c.LocalAddr().(*net.UDPAddr).AddrPort(), TLS: quic.ClientTLS(nil, false), Settings: quic.ConnectorSettings(),
			})
			dialled <- err
		}()
		buf := make([]byte, 2048)
		n, _, err := c.ReadFrom(buf)
		for err == nil && string(buf[1:5]) == "\x1a\x2a\x3a\x4a" { // a slow handshake probes the port
			n, _, err = c.ReadFrom(buf)
		}
		if err != nil {
			t.Fatal(err)
		}
		cancel()
		if err := <-dialled; err == nil {
			t.Error("dial succeeded without a server")
		}
		dcid := int(buf[5])
		if scid := buf[6+dcid]; n != size || buf[0]&0x80 == 0 || string(buf[1:5]) != "\x00\x00\x00\x01" || scid != 0 {
			t.Errorf(
				"%s: first packet of %d bytes, % x, source id of %d bytes; want %d bytes, version 1, no source id",
				addr,
				n,
				buf[:7+dcid],
				scid,
				size,
			)
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestDialReasons(t *testing.T) {
	l, pool := listen(t, "127.0.0.1:0", quic.ServerName)
	wrong, wrongPool := listen(t, "127.0.0.1:0", "another.example")
	silent, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	quick := quic.ConnectorSettings()
	quick.HandshakeTimeout = 50 * time.Millisecond
	_, foreign := certificate(t, quic.ServerName)
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	tests := []struct {
		name string
		ctx  context.Context //nolint:containedctx // of the case
		cfg  quic.DialConfig
		want tunnel.Reason
	}{
		{
			"unknown authority",
			t.Context(),
			quic.DialConfig{Edge: l.Addr(), TLS: quic.ClientTLS(foreign, false), Settings: quic.ConnectorSettings()},
			tunnel.ReasonTLS,
		},
		{
			"wrong name",
			t.Context(),
			quic.DialConfig{Edge: wrong.Addr(), TLS: quic.ClientTLS(wrongPool, false), Settings: quic.ConnectorSettings()},
			tunnel.ReasonTLS,
		},
		{
			"no common protocol",
			t.Context(),
			quic.DialConfig{Edge: l.Addr(), TLS: withALPN(pool, "other"), Settings: quic.ConnectorSettings()},
			tunnel.ReasonTLS,
		},
		{
			"no response",
			t.Context(),
			quic.DialConfig{Edge: silent.LocalAddr().(*net.UDPAddr).AddrPort(), TLS: quic.ClientTLS(pool, true), Settings: quick},
			tunnel.ReasonDial,
		},
		{"cancelled", cancelled, quic.DialConfig{Edge: l.Addr(), TLS: quic.ClientTLS(pool, false), Settings: quick}, tunnel.ReasonDial},
		{
			"foreign local address",
			t.Context(),
			quic.DialConfig{Edge: l.Addr(), LocalIP: netip.MustParseAddr("192.0.2.1"), TLS: quic.ClientTLS(pool, false), Settings: quick},
			tunnel.ReasonDial,
		},
		{"no configuration", t.Context(), quic.DialConfig{Edge: l.Addr()}, tunnel.ReasonInternal},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s, err := quic.Dial(tt.ctx, tt.cfg)
			if err == nil {
				_ = s.CloseWithError(0, "")
				t.Fatal("dial succeeded")
			}
			if got := tunnel.ReasonOf(err); got != tt.want {
				t.Errorf("reason = %q (%v), want %q", got, err, tt.want)
			}
		})
	}
}

func withALPN(pool *x509.CertPool, proto string) *tls.Config {
	c := quic.ClientTLS(pool, false)
	c.NextProtos = []string{proto}
	return c
}

// TestIdle: a peer that falls silent is ReasonIdle, or ReasonClosed if its port is seen to be closed before,
// for the session and its streams.
func TestIdle(t *testing.T) {
	l, pool := listen(t, "127.0.0.1:0", quic.ServerName)
	relay, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	forwarded := forward(relay, net.UDPAddrFromAddrPort(l.Addr()))
	settings := quic.ConnectorSettings()
	settings.IdleTimeout = 200 * time.Millisecond
	s, err := quic.Dial(t.Context(), quic.DialConfig{
		Edge: relay.LocalAddr().(*net.UDPAddr).AddrPort(), TLS: quic.ClientTLS(pool, false), Settings: settings,
	})
	if err != nil {
		t.Fatal(err)
	}
	st, err := s.OpenStream(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := relay.Close(); err != nil { // the network is gone
		t.Fatal(err)
	}
	<-forwarded
	_, err = st.Read(make([]byte, 1))
	if got := tunnel.ReasonOf(err); got != tunnel.ReasonIdle && got != tunnel.ReasonClosed {
		t.Errorf("read of a stream = %v, want reason idle", err)
	}
	<-s.Context().Done()
	if got := tunnel.ReasonOf(context.Cause(s.Context())); got != tunnel.ReasonIdle && got != tunnel.ReasonClosed {
		t.Errorf("cause = %v, want reason idle", context.Cause(s.Context()))
	}
}

// forward passes packets between the first client and server until relay is closed.
func forward(relay *net.UDPConn, server *net.UDPAddr) <-chan struct{} {
	done := make(chan struct{})
	go func() {
		defer close(done)
		var client *net.UDPAddr
		buf := make([]byte, 2048)
		for {
			n, from, err := relay.ReadFromUDP(buf)
			if err != nil {
				return
			}
			to := server
			if from.Port == server.Port {
				to = client
			} else {
				client = from
			}
			_, _ = relay.WriteToUDP(buf[:n], to) // packets may be lost
		}
	}()
	return done
}

// TestListenerCloses ends accepted sessions, and connectors learn it.
func TestListenerCloses(t *testing.T) {
	cert, pool := certificate(t, quic.ServerName)
	l, err := quic.Listen(quic.ListenConfig{
		Addr: netip.MustParseAddrPort("127.0.0.1:0"), TLS: &tls.Config{Certificates: []tls.Certificate{cert}}, Settings: quic.EdgeSettings(),
	})
	if err != nil {
		t.Fatal(err)
	}
	s, err := dial(t, l, pool, 0)
	if err != nil {
		t.Fatal(err)
	}
	edge, err := l.Accept(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := edge.CloseWithError(7, "bye"); err != nil {
		t.Fatal(err)
	}
	<-s.Context().Done()
	want := &tunnel.ConnError{Reason: tunnel.ReasonPeerClosed, Code: 7}
	var got *tunnel.ConnError
	if !errors.As(context.Cause(s.Context()), &got) || got.Reason != want.Reason || got.Code != want.Code {
		t.Errorf("cause = %v, want reason peer_closed with code 7", context.Cause(s.Context()))
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	if _, err := l.Accept(t.Context()); err == nil {
		t.Error("a closed listener accepts")
	}
}

func TestPath(t *testing.T) {
	a, b := pair(t, "127.0.0.1:0")
	st, err := a.OpenStream(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	sent := make([]byte, 100_000)
	if _, err := st.Write(sent); err != nil {
		t.Fatal(err)
	}
	if err := st.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	at, err := b.AcceptStream(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, at); err != nil {
		t.Fatal(err)
	}
	measured, ok := a.(transport.Measured)
	if !ok {
		t.Fatalf("%T measures nothing", a)
	}
	p := measured.Path()
	if p.BytesSent < uint64(len(sent)) || p.PacketsSent == 0 || p.BytesReceived == 0 || p.PacketsReceived == 0 || p.MinRTT <= 0 ||
		p.MinRTT > p.LatestRTT || p.SmoothedRTT <= 0 || p.CongestionWindow == 0 {
		t.Errorf("path = %+v", p)
	}
	if p.MTU < 1200 || p.MTU > 1452 {
		t.Errorf("MTU = %d, want what QUIC allows on a path of 1500 bytes at the least and the most", p.MTU)
	}
	transport.Abort(at)
	if err := a.CloseWithError(transport.NoError, ""); err != nil {
		t.Fatal(err)
	}
	if after := measured.Path(); after.BytesSent < p.BytesSent {
		t.Errorf("after the end the path has sent %d bytes, before %d", after.BytesSent, p.BytesSent)
	}
}
