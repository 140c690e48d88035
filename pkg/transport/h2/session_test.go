package h2_test

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

	"golang.org/x/net/http2"

	"github.com/culvert-tunnel/culvert/pkg/remoteconfig"
	"github.com/culvert-tunnel/culvert/pkg/transport/h2"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

// TestSettingsOnTheWire: what an edge sees first (docs/spec/wire.md 3 and 9.1).
func TestSettingsOnTheWire(t *testing.T) {
	cert, pool := certificate(t, h2.ServerName)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	hello := make(chan *tls.ClientHelloInfo, 1)
	accepted := make(chan *tls.Conn, 1)
	go func() {
		c, err := ln.Accept()
		if err != nil {
			return
		}
		conn := tls.Server(
			c,
			&tls.Config{Certificates: []tls.Certificate{cert}, GetConfigForClient: func(h *tls.ClientHelloInfo) (*tls.Config, error) {
				hello <- h
				return nil, nil
			}},
		)
		if conn.Handshake() == nil {
			accepted <- conn
		}
	}()
	s, err := h2.Dial(t.Context(), h2.DialConfig{
		Edge: ln.Addr().(*net.TCPAddr).AddrPort(), TLS: h2.ClientTLS(pool, false), Settings: h2.ConnectorSettings(),
	})
	if err != nil {
		t.Fatal(err)
	}
	defer s.CloseWithError(0, "")
	h := <-hello
	if h.ServerName != h2.ServerName || len(h.SupportedProtos) != 0 {
		t.Errorf("client hello: name %q, protocols %q", h.ServerName, h.SupportedProtos)
	}
	conn := <-accepted
	defer conn.Close()
	fr := http2.NewFramer(conn, conn)
	f, err := fr.ReadFrame()
	if err != nil {
		t.Fatal(err)
	}
	want := map[http2.SettingID]uint32{
		http2.SettingMaxFrameSize: 1048576, http2.SettingMaxConcurrentStreams: 4294967295, http2.SettingMaxHeaderListSize: 1048896,
		http2.SettingHeaderTableSize: 4096, http2.SettingInitialWindowSize: 1048576, http2.SettingNoRFC7540Priorities: 1,
	}
	sf, ok := f.(*http2.SettingsFrame)
	if !ok || sf.NumSettings() != len(want) {
		t.Fatalf("first frame = %v", f)
	}
	for id, val := range want {
		if got, _ := sf.Value(id); got != val {
			t.Errorf("%s = %d, want %d", id, got, val)
		}
	}
}

func TestDialReasons(t *testing.T) {
	l, pool := listen(t, h2.ServerName, h2.EdgeSettings())
	wrong, wrongPool := listen(t, "another.example", h2.EdgeSettings())
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = closed.Close()
	quick := h2.ConnectorSettings()
	quick.HandshakeTimeout = 50 * time.Millisecond
	usual := h2.ConnectorSettings()
	_, foreign := certificate(t, h2.ServerName)
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	addr := func(l net.Listener) netip.AddrPort { return l.Addr().(*net.TCPAddr).AddrPort() }
	conf := func(p *x509.CertPool) *tls.Config { return h2.ClientTLS(p, false) }
	tests := []struct {
		name string
		ctx  context.Context //nolint:containedctx // of the case
		cfg  h2.DialConfig
		want tunnel.Reason
	}{
		{"unknown authority", t.Context(), h2.DialConfig{Edge: l.Addr(), TLS: conf(foreign), Settings: usual}, tunnel.ReasonTLS},
		{"wrong name", t.Context(), h2.DialConfig{Edge: wrong.Addr(), TLS: conf(wrongPool), Settings: usual}, tunnel.ReasonTLS},
		{"no response", t.Context(), h2.DialConfig{Edge: addr(silent), TLS: conf(pool), Settings: quick}, tunnel.ReasonDial},
		{"refused", t.Context(), h2.DialConfig{Edge: addr(closed), TLS: conf(pool), Settings: usual}, tunnel.ReasonClosed},
		{"cancelled", cancelled, h2.DialConfig{Edge: l.Addr(), TLS: conf(pool), Settings: usual}, tunnel.ReasonDial},
		{
			"foreign local address",
			t.Context(),
			h2.DialConfig{Edge: l.Addr(), LocalIP: netip.MustParseAddr("192.0.2.1"), TLS: conf(pool), Settings: usual},
			tunnel.ReasonDial,
		},
		{"no configuration", t.Context(), h2.DialConfig{Edge: l.Addr()}, tunnel.ReasonInternal},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s, err := h2.Dial(tt.ctx, tt.cfg)
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

// TestStrictPostQuantum: both ends agree on a post-quantum key exchange, and an edge without one is refused.
func TestStrictPostQuantum(t *testing.T) {
	cert, pool := certificate(t, h2.ServerName)
	for name, curves := range map[string][]tls.CurveID{"able": {tls.X25519MLKEM768}, "unable": {tls.CurveP256, tls.X25519}} {
		l, err := h2.Listen(h2.ListenConfig{
			Addr: netip.MustParseAddrPort("127.0.0.1:0"), Settings: h2.EdgeSettings(),
			TLS: &tls.Config{Certificates: []tls.Certificate{cert}, CurvePreferences: curves},
		})
		if err != nil {
			t.Fatal(err)
		}
		s, err := h2.Dial(t.Context(), h2.DialConfig{Edge: l.Addr(), TLS: h2.ClientTLS(pool, true), Settings: h2.ConnectorSettings()})
		if (err == nil) != (name == "able") {
			t.Errorf("%s: %v", name, err)
		}
		if err == nil {
			_ = s.CloseWithError(0, "")
		} else if tunnel.ReasonOf(err) != tunnel.ReasonTLS {
			t.Errorf("%s: reason %s", name, tunnel.ReasonOf(err))
		}
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	}
}

// TestSilentPeer: an established connection over which nothing arrives ends with reason idle at both ends.
func TestSilentPeer(t *testing.T) {
	quick := func(s h2.Settings) h2.Settings {
		s.PingInterval, s.PingTimeout = 50*time.Millisecond, 50*time.Millisecond
		return s
	}
	l, pool := listen(t, h2.ServerName, quick(h2.EdgeSettings()))
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	gate := make(chan struct{})
	done := make(chan struct{})
	go func() { // a network that loses everything once gate is closed
		defer close(done)
		in, err := ln.Accept()
		if err != nil {
			return
		}
		out, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			return
		}
		for _, way := range [][2]net.Conn{{in, out}, {out, in}} {
			go func() {
				buf := make([]byte, 4096)
				for {
					n, err := way[0].Read(buf)
					if err != nil {
						return
					}
					select {
					case <-gate:
					default:
						_, _ = way[1].Write(buf[:n])
					}
				}
			}()
		}
		<-gate
		<-t.Context().Done()
		_, _ = in.Close(), out.Close()
	}()
	s, err := h2.Dial(t.Context(), h2.DialConfig{
		Edge: ln.Addr().(*net.TCPAddr).AddrPort(), TLS: h2.ClientTLS(pool, false), Settings: quick(h2.ConnectorSettings()),
	})
	if err != nil {
		t.Fatal(err)
	}
	edge, err := l.Accept(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	near, _ := control(t, s, edge)
	close(gate)
	if _, err := io.Copy(io.Discard, near); tunnel.ReasonOf(err) != tunnel.ReasonIdle {
		t.Errorf("read of a stream = %v, want reason idle", err)
	}
	for _, s := range []*h2.Session{s, edge} {
		<-s.Context().Done()
		if got := tunnel.ReasonOf(context.Cause(s.Context())); got != tunnel.ReasonIdle {
			t.Errorf("cause = %v, want reason idle", context.Cause(s.Context()))
		}
		_ = s.CloseWithError(0, "")
	}
	_ = ln.Close()
}

// TestStalledPeer: a session whose peer reads no bytes ends after a while, and the memory that it takes until then is bounded.
func TestStalledPeer(t *testing.T) {
	cert, pool := certificate(t, h2.ServerName)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	accepted := make(chan *tls.Conn, 1)
	go func() {
		if c, err := ln.Accept(); err == nil {
			conn := tls.Server(c, &tls.Config{Certificates: []tls.Certificate{cert}})
			if conn.Handshake() == nil {
				accepted <- conn
			}
		}
	}()
	settings := h2.ConnectorSettings()
	settings.WriteTimeout, settings.PingInterval = 50*time.Millisecond, time.Hour
	s, err := h2.Dial(
		t.Context(),
		h2.DialConfig{Edge: ln.Addr().(*net.TCPAddr).AddrPort(), TLS: h2.ClientTLS(pool, false), Settings: settings},
	)
	if err != nil {
		t.Fatal(err)
	}
	defer s.CloseWithError(0, "")
	conn := <-accepted
	defer conn.Close()
	fr := http2.NewFramer(conn, nil)
	_, _ = conn.Write([]byte(http2.ClientPreface))
	_ = fr.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1<<31 - 1})
	_ = fr.WriteWindowUpdate(0, 1<<30)
	_ = fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, EndHeaders: true, BlockFragment: controlBlock()})
	st, err := s.OpenStream(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	total := 0
	for {
		n, err := st.Write(make([]byte, 64<<10))
		total += n
		if err != nil {
			break
		}
	}
	<-s.Context().Done()
	if got := tunnel.ReasonOf(context.Cause(s.Context())); got != tunnel.ReasonIdle {
		t.Errorf("cause = %v", context.Cause(s.Context()))
	}
	if total > 64<<20 {
		t.Errorf("%d bytes were accepted for a peer that reads none", total)
	}
}

// applier is a function as an h2.Applier.
type applier func(u remoteconfig.Update) (int32, error)

func (a applier) Apply(_ context.Context, u remoteconfig.Update) (int32, error) { return a(u) }

// TestConfiguration pushes configurations and checks their results (docs/spec/wire.md 9.5).
func TestConfiguration(t *testing.T) {
	got := make(chan remoteconfig.Update, 4)
	unavailable := errors.New("no proxy")
	connector, edge := sessions(t, func(d *h2.DialConfig, _ *h2.Settings) {
		d.Applier = applier(func(u remoteconfig.Update) (int32, error) {
			got <- u
			switch u.Version {
			case 6:
				return 5, &remoteconfig.RejectedError{Reason: `no "ingress"`}
			case 9:
				return 5, unavailable
			}
			return u.Version, nil
		})
	})
	control(t, connector, edge)
	update := func(version int32, document string) remoteconfig.Update {
		return remoteconfig.Update{Version: version, Document: []byte(document)}
	}
	if applied, err := edge.Apply(t.Context(), update(5, `{"ingress":[]}`)); applied != 5 || err != nil {
		t.Errorf("push = %d, %v", applied, err)
	}
	if p := <-got; p.Version != 5 || string(p.Document) != `{"ingress":[]}` {
		t.Errorf("applied %+v", p)
	}
	var rejected *remoteconfig.RejectedError
	if applied, err := edge.Apply(
		t.Context(),
		update(6, `{}`),
	); applied != 5 || !errors.As(err, &rejected) ||
		rejected.Reason != `no "ingress"` {
		t.Errorf("rejected push = %d, %v", applied, err)
	}
	if applied, err := edge.Apply(t.Context(), update(9, `{}`)); applied != 0 || err == nil || errors.As(err, &rejected) {
		t.Errorf("push that could not be handled = %d, %v; want an error other than a rejection", applied, err)
	}
	if _, err := edge.Apply(t.Context(), update(7, `{`)); err == nil {
		t.Error("a configuration that is not JSON was pushed")
	}
	other, otherEdge := sessions(t, nil) // without an Applier
	control(t, other, otherEdge)
	if applied, err := otherEdge.Apply(t.Context(), update(1, `{}`)); !errors.As(err, &rejected) {
		t.Errorf("push to a connector without an Applier = %d, %v", applied, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := edge.Apply(ctx, update(8, `{}`)); !errors.Is(err, context.Canceled) {
		t.Errorf("push with an ended context = %v", err)
	}
}

// TestListenerSheds: a peer that never completes its handshake, and one that is not a TLS client, do not affect other sessions.
func TestListenerSheds(t *testing.T) {
	settings := h2.EdgeSettings()
	settings.HandshakeTimeout, settings.MaxHandshakes = 100*time.Millisecond, 1
	l, pool := listen(t, h2.ServerName, settings)
	for _, text := range []string{"", "GET / HTTP/1.1\r\n\r\n"} {
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		_, _ = io.WriteString(c, text)
	}
	s, err := h2.Dial(t.Context(), h2.DialConfig{Edge: l.Addr(), TLS: h2.ClientTLS(pool, false), Settings: h2.ConnectorSettings()})
	if err != nil {
		t.Fatal(err)
	}
	defer s.CloseWithError(0, "")
	edge, err := l.Accept(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := edge.CloseWithError(0, "bye"); err != nil {
		t.Fatal(err)
	}
	<-s.Context().Done()
	if err := context.Cause(
		s.Context(),
	); tunnel.ReasonOf(err) != tunnel.ReasonPeerClosed ||
		err.Error() != "peer_closed: application close: bye" {
		t.Errorf("cause = %v", err)
	}
}
