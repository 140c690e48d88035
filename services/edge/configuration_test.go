package edge_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/culvert-tunnel/culvert/pkg/protocol"
	"github.com/culvert-tunnel/culvert/pkg/remoteconfig"
	"github.com/culvert-tunnel/culvert/pkg/testkit"
	"github.com/culvert-tunnel/culvert/pkg/transport"
	"github.com/culvert-tunnel/culvert/pkg/transport/h2"
	"github.com/culvert-tunnel/culvert/pkg/transport/quic"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
	"github.com/culvert-tunnel/culvert/pkg/wire/rpc"
	"github.com/culvert-tunnel/culvert/pkg/wire/stream"
	"github.com/culvert-tunnel/culvert/services/edge"
	"github.com/culvert-tunnel/culvert/services/edge/adminclient"
)

// managed is a connector that records the configurations pushed to it.
type managed struct {
	rpc.SessionHandler // not called

	mu      sync.Mutex
	version int32
	config  string
	pushes  int
	reject  string
}

func (m *managed) Apply(_ context.Context, u remoteconfig.Update) (int32, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.pushes++
	if m.reject != "" {
		return m.version, &remoteconfig.RejectedError{Reason: m.reject}
	}
	if u.Version > m.version {
		m.version, m.config = u.Version, string(u.Document)
	}
	return m.version, nil
}

func (m *managed) set(version int32, reject string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.version, m.reject = version, reject
}

func (m *managed) state() (config string, pushes int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.config, m.pushes
}

// manage registers a connector over p that supports remote configuration.
func (b *bench) manage(p tunnel.Protocol, index tunnel.ConnIndex, m *managed, features ...string) (*peer, rpc.ConnectionDetails) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.t.Context(), testkit.Patience)
	defer cancel()
	var sess transport.Session
	var err error
	if p == tunnel.HTTP2 {
		sess, err = h2.Dial(ctx, h2.DialConfig{
			Edge: b.ConnectorAddrs()[0], TLS: h2.ClientTLS(b.roots(), false), Settings: h2.ConnectorSettings(), Applier: m,
		})
	} else {
		sess, err = quic.Dial(ctx, quic.DialConfig{
			Edge: b.ConnectorAddrs()[0], TLS: quic.ClientTLS(b.roots(), false), Settings: patientSettings(),
		})
	}
	if err != nil {
		b.t.Fatal(err)
	}
	peer := &peer{t: b.t, sess: sess}
	b.t.Cleanup(peer.close)
	details, err := peer.register(b.request(index, features...))
	if err != nil {
		b.t.Fatal(err)
	}
	peer.work.Go(func() {
		for {
			st, err := sess.AcceptStream(context.Background())
			if err != nil {
				return
			}
			peer.work.Go(func() {
				signature := make([]byte, stream.SignatureSize)
				if _, err := io.ReadFull(st, signature); err != nil || string(signature) != stream.RPCSignature {
					st.CancelWrite(0)
					return
				}
				_ = rpc.ServeConnector(sess.Context(), rpc.StreamConn(st), m)
			})
		}
	})
	return peer, details
}

func (b *bench) configuration() adminclient.Configuration {
	b.t.Helper()
	c, err := b.admin.Configuration(b.t.Context(), "demo")
	if err != nil {
		b.t.Fatal(err)
	}
	return c
}

func TestConfigurationPush(t *testing.T) {
	t.Parallel()
	for _, p := range []tunnel.Protocol{tunnel.QUIC, tunnel.HTTP2} {
		t.Run(string(p), func(t *testing.T) {
			b := start(t, nil)
			set := func(doc string, version int32) {
				t.Helper()
				got, err := b.admin.SetConfiguration(t.Context(), "demo", json.RawMessage(doc))
				if err != nil || got.Version != version {
					t.Fatalf("set: version %d, %v, want %d", got.Version, err, version)
				}
			}
			if _, err := b.admin.Configuration(t.Context(), "demo"); !errors.Is(err, tunnel.ErrNotFound) {
				t.Errorf("before the first one: %v", err)
			}
			one, two, deaf := &managed{version: -1}, &managed{version: -1}, &managed{version: -1}
			if _, details := b.manage(p, 0, one, protocol.FeatureRemoteConfig); details.RemotelyManaged {
				t.Error("managed without a configuration")
			}
			b.manage(p, 2, deaf)
			const first = `{"ingress":[{"service":"http_status:404"}]}`
			set(first, 0)
			testkit.Eventually(t, "the connection has it", func() bool {
				c := b.configuration()
				return len(c.Connections) == 2 && c.Connections[0].Applied == 0
			})
			if got, _ := one.state(); got != first {
				t.Errorf("pushed %s", got)
			}
			set(" "+first, 0) // the same
			// A later connection gets the configuration at once, and its registration says that it is managed remotely.
			if _, details := b.manage(p, 1, two, protocol.FeatureRemoteConfig); !details.RemotelyManaged {
				t.Error("not managed")
			}
			testkit.Eventually(t, "the later connection has it", func() bool { return b.configuration().Connections[1].Applied == 0 })
			// A connector rejects it with a reason; the others apply it.
			two.set(0, "no such origin")
			set(`{"ingress":[{"service":"http_status:405"}]}`, 1)
			testkit.Eventually(t, "both have responded", func() bool {
				c := b.configuration().Connections
				return c[0].Applied == 1 && c[1].Pushed == 1 && c[1].Applied == 0 && strings.Contains(c[1].Error, "no such origin")
			})
			// The next version is above that of a connector with a later version.
			one.set(7, "")
			two.set(0, "")
			set(`{"ingress":[{"service":"http_status:406"}]}`, 2)
			testkit.Eventually(t, "the edge knows both versions", func() bool {
				c := b.configuration().Connections
				return c[0].Applied == 7 && c[1].Applied == 2
			})
			set(`{"ingress":[{"service":"http_status:406"}]}`, 8)
			testkit.Eventually(t, "both follow", func() bool { c := b.configuration().Connections; return c[0].Applied == 8 && c[1].Applied == 8 })
			if _, pushes := deaf.state(); pushes != 0 {
				t.Error("pushed to a connector without the feature")
			}
		})
	}
}

func TestConfigurationIsChecked(t *testing.T) {
	t.Parallel()
	b := start(t, nil)
	for _, doc := range []string{`[]`, `"x"`, `null`} {
		if _, err := b.admin.SetConfiguration(t.Context(), "demo", json.RawMessage(doc)); err == nil ||
			!strings.Contains(err.Error(), "configuration: invalid") {
			t.Errorf("%s: %v", doc, err)
		}
	}
	if c, err := b.admin.SetConfiguration(t.Context(), "demo", json.RawMessage(`{"ingress":[{"service":"gopher://x"}]}`)); err != nil ||
		c.Version != 0 {
		t.Errorf("set: %+v, %v", c, err)
	}
	if _, err := b.admin.SetConfiguration(t.Context(), "nobody", json.RawMessage(`{}`)); !errors.Is(err, tunnel.ErrNotFound) {
		t.Errorf("unknown tunnel: %v", err)
	}
	// The catalog keeps it across a restart.
	b.stop()
	again := start(t, func(c *edge.Config) { c.DataDir = filepath.Dir(b.AdminSocket()) })
	if c := again.configuration(); c.Version != 0 || string(c.Config) != `{"ingress":[{"service":"gopher://x"}]}` {
		t.Errorf("after a restart: %+v", c)
	}
}
