package edge_test

import (
	"crypto/tls"
	"testing"

	"github.com/culvert-tunnel/culvert/pkg/transport"
	"github.com/culvert-tunnel/culvert/pkg/transport/h2"
	"github.com/culvert-tunnel/culvert/pkg/transport/quic"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

// TestKeyExchangeGroups: the edge accepts each group that a connector may offer as its only one, over both transports, and no other.
func TestKeyExchangeGroups(t *testing.T) {
	t.Parallel()
	b := start(t, nil)
	edge := b.ConnectorAddrs()[0]
	for _, p := range []tunnel.Protocol{tunnel.QUIC, tunnel.HTTP2} {
		for _, c := range []struct {
			group    tls.CurveID
			accepted bool
		}{{tls.X25519MLKEM768, true}, {tls.CurveP256, true}, {tls.X25519, true}, {tls.CurveP521, false}} {
			var s transport.Session
			var err error
			if p == tunnel.HTTP2 {
				conf := h2.ClientTLS(b.roots(), false)
				conf.CurvePreferences = []tls.CurveID{c.group}
				s, err = h2.Dial(t.Context(), h2.DialConfig{Edge: edge, TLS: conf, Settings: h2.ConnectorSettings()})
			} else {
				conf := quic.ClientTLS(b.roots(), false)
				conf.CurvePreferences = []tls.CurveID{c.group}
				s, err = quic.Dial(t.Context(), quic.DialConfig{Edge: edge, TLS: conf, Settings: quic.ConnectorSettings()})
			}
			if (err == nil) != c.accepted {
				t.Errorf("%s, %v: %v", p, c.group, err)
			}
			if err == nil {
				_ = s.CloseWithError(0, "")
			} else if r := tunnel.ReasonOf(err); r != tunnel.ReasonTLS {
				t.Errorf("%s, %v: reason %s", p, c.group, r)
			}
		}
	}
}
