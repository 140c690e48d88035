package h2_test

import (
	"crypto/tls"
	"net/netip"
	"slices"
	"testing"

	"github.com/culvert-tunnel/culvert/pkg/transport/h2"
)

// TestClientHello looks at what an edge sees of a connector first, in both modes (docs/spec/wire.md 3): no ALPN at all.
func TestClientHello(t *testing.T) {
	for name, c := range map[string]struct {
		strict   bool
		groups   []tls.CurveID
		versions []uint16
	}{
		"prefer": {false, []tls.CurveID{tls.X25519MLKEM768, tls.CurveP256}, []uint16{tls.VersionTLS13, tls.VersionTLS12}},
		"strict": {true, []tls.CurveID{tls.X25519MLKEM768}, []uint16{tls.VersionTLS13}}, // TLS 1.2 has no such exchange
	} {
		t.Run(name, func(t *testing.T) {
			cert, pool := certificate(t, h2.ServerName)
			hellos := make(chan *tls.ClientHelloInfo, 1)
			l, err := h2.Listen(h2.ListenConfig{Addr: netip.MustParseAddrPort("127.0.0.1:0"), Settings: h2.EdgeSettings(), TLS: &tls.Config{
				Certificates: []tls.Certificate{cert},
				GetConfigForClient: func(h *tls.ClientHelloInfo) (*tls.Config, error) {
					hellos <- h
					return nil, nil // keeps the configuration as it is
				},
			}})
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = l.Close() }()
			s, err := h2.Dial(t.Context(), h2.DialConfig{Edge: l.Addr(), TLS: h2.ClientTLS(pool, c.strict), Settings: h2.ConnectorSettings()})
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = s.CloseWithError(0, "") }()
			h := <-hellos
			if !slices.Equal(h.SupportedCurves, c.groups) || h.ServerName != "h2.cftunnel.com" || len(h.SupportedProtos) > 0 ||
				!slices.Equal(h.SupportedVersions, c.versions) {
				t.Errorf("groups %v, name %s, protocols %v, versions %x", h.SupportedCurves, h.ServerName, h.SupportedProtos, h.SupportedVersions)
			}
		})
	}
}
