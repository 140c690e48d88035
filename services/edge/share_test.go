package edge_test

import (
	"crypto/tls"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/testkit"
	"github.com/culvert-tunnel/culvert/pkg/transport/h2"
	"github.com/culvert-tunnel/culvert/pkg/transport/quic"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
	"github.com/culvert-tunnel/culvert/services/edge"
	"github.com/culvert-tunnel/culvert/services/edge/internal/connector"
)

// idleSockets opens TCP connections from another address than the connectors of the tests have. Every fourth one tries a TLS
// handshake; none sends anything after that.
func (b *bench) idleSockets(n int) {
	b.t.Helper()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2)}}
	for i := range n {
		c, err := d.DialContext(b.t.Context(), "tcp", b.ConnectorAddrs()[0].String())
		if err != nil {
			b.t.Fatal(err)
		}
		b.t.Cleanup(func() { _ = c.Close() })
		if i%4 != 0 {
			continue
		}
		s := tls.Client(c, h2.ClientTLS(b.roots(), false))
		_ = s.SetDeadline(time.Now().Add(testkit.Patience))
		_ = s.Handshake() // its place may be taken before it completes
	}
}

func TestIdleSocketsKeepNoConnectorOut(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*connector.Config){
		"share of an address": func(c *connector.Config) { c.MaxPending, c.MaxPerAddress = 8, 3 },
		"total":               func(c *connector.Config) { c.MaxPending, c.MaxPerAddress = 8, 0 },
	} {
		t.Run(name, func(t *testing.T) {
			b := start(t, func(c *edge.Config) {
				change(&c.Connectors)
				c.Connectors.RegisterTimeout = time.Hour // no place gets free because of time
			})
			b.idleSockets(20)
			first := b.connect(0, 0, named("quic"))
			b.idleSockets(20)
			b.connect(1, 1, named("quic"))
			s, err := h2.Dial(t.Context(), h2.DialConfig{
				Edge: b.ConnectorAddrs()[0], TLS: h2.ClientTLS(b.roots(), false), Settings: h2.ConnectorSettings(),
			})
			if err != nil {
				t.Fatalf("dial over HTTP/2: %v", err)
			}
			p := &peer{t: t, sess: s}
			t.Cleanup(p.close)
			if _, err := p.register(b.request(2)); err != nil {
				t.Errorf("register over HTTP/2: %v", err)
			}
			if err := first.sess.Context().Err(); err != nil {
				t.Errorf("a registered session was evicted: %v", err)
			}
		})
	}
}

func TestOneTunnelCannotTakeAllSessions(t *testing.T) {
	t.Parallel()
	b := start(t, func(c *edge.Config) { c.Connectors.MaxSessions, c.Connectors.MaxPerTunnel = 3, 2 })
	first := b.connect(0, 0, named("a"))
	b.connect(0, 1, named("b"))
	p := b.dial(0, 0)
	if _, err := p.register(b.request(2)); err == nil || !strings.Contains(err.Error(), "share") {
		t.Errorf("third registration of a tunnel: %v, want a refusal that names the share", err)
	}
	other, err := b.admin.CreateTunnel(t.Context(), "other")
	if err != nil {
		t.Fatal(err)
	}
	req := b.request(0)
	req.TunnelID = other.Tunnel.ID
	req.Auth = credentialsOf(t, other.Token)
	q := b.dial(0, 0)
	if _, err := q.register(req); err != nil {
		t.Errorf("registration of another tunnel: %v", err)
	}
	first.close()
	testkit.Eventually(t, "the place of the closed session is free", func() bool { return b.connections("active") == 2 })
	testkit.Eventually(t, "another connection registers", func() bool {
		_, err := b.dial(0, 0).register(b.request(3))
		return err == nil
	})
}

func TestOneTunnelCannotTakeAllUploadedConfigurations(t *testing.T) {
	t.Parallel()
	b := start(t, func(c *edge.Config) { c.Connectors.MaxLocalConfig, c.Connectors.MaxTunnelConfig = 3000, 1500 })
	large := []byte(`{"a":"` + strings.Repeat("x", 1000) + `"}`)
	upload := func(connector byte) (*peer, error) {
		t.Helper()
		p, req := b.dial(0, 0), b.request(0)
		req.Options.ConnectorID = tunnel.ConnectorID{connector}
		if _, err := p.register(req); err != nil {
			t.Fatal(err)
		}
		return p, p.reg.UpdateLocalConfiguration(t.Context(), large)
	}
	first, err := upload(1)
	if err != nil {
		t.Fatalf("first upload: %v", err)
	}
	if err := first.reg.UpdateLocalConfiguration(t.Context(), large); err != nil {
		t.Errorf("upload in the place of the first one: %v", err)
	}
	if _, err := upload(2); err == nil {
		t.Error("a second connector of the tunnel exceeded its share")
	}
	first.close()
	testkit.Eventually(t, "the upload of a closed session is forgotten", func() bool {
		p, err := upload(3)
		if err != nil {
			p.close()
		}
		return err == nil
	})
}

func TestStreamsBeforeTheRegistrationEndTheSession(t *testing.T) {
	t.Parallel()
	b := start(t, func(c *edge.Config) { c.Connectors.RegisterTimeout = time.Hour })
	s, err := quic.Dial(t.Context(), quic.DialConfig{
		Edge: b.ConnectorAddrs()[0], TLS: quic.ClientTLS(b.roots(), false), Settings: quic.ConnectorSettings(),
	})
	if err != nil {
		t.Fatal(err)
	}
	defer s.CloseWithError(0, "")
	for s.Context().Err() == nil {
		st, err := s.OpenStream(t.Context())
		if err != nil {
			break
		}
		_, _ = st.Write([]byte("x"))
	}
	testkit.Receive(t, "end of the session", s.Context().Done())
}

func TestRotationEndsSessionsWithTheOldSecret(t *testing.T) {
	t.Parallel()
	b := start(t, nil)
	old := b.connect(0, 0, named("old"))
	if _, err := b.admin.RotateSecret(t.Context(), "demo", time.Hour); err != nil {
		t.Fatal(err)
	}
	again := b.connect(0, 1, named("old")) // the old secret is still valid
	rotated, err := b.admin.RotateSecret(t.Context(), "demo", 0)
	if err != nil {
		t.Fatal(err)
	}
	testkit.Receive(t, "end of a session with the old secret", old.sess.Context().Done())
	testkit.Receive(t, "end of a session registered in the grace period", again.sess.Context().Done())
	if _, err := b.dial(0, 0).register(b.request(2)); err == nil {
		t.Error("the old secret is accepted")
	}
	b.creds = credentialsOf(t, rotated.Token)
	b.connect(0, 0, named("new"))
}

func TestGracePeriodOfARotationEnds(t *testing.T) {
	t.Parallel()
	b := start(t, nil)
	p := b.connect(0, 0, named("old"))
	if _, err := b.admin.RotateSecret(t.Context(), "demo", time.Millisecond); err != nil { // over when the response arrives, or soon
		t.Fatal(err)
	}
	testkit.Receive(t, "end of the session after the grace period", p.sess.Context().Done())
}

func TestEvictConnection(t *testing.T) {
	t.Parallel()
	b := start(t, nil)
	first, second := b.connect(0, 0, named("a")), b.connect(1, 1, named("b"))
	list, err := b.admin.ListConnections(t.Context())
	if err != nil || len(list) != 2 {
		t.Fatalf("ListConnections = %v, %v", list, err)
	}
	if err := b.admin.EvictConnection(t.Context(), list[0].ID); err != nil {
		t.Fatalf("EvictConnection: %v", err)
	}
	testkit.Receive(t, "end of the evicted session", first.sess.Context().Done())
	if err := second.sess.Context().Err(); err != nil {
		t.Errorf("the other session ended: %v", err)
	}
	if err := b.admin.EvictConnection(t.Context(), "none"); err == nil {
		t.Error("evicting an unknown connection succeeded")
	}
}
