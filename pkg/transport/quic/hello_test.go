package quic_test

import (
	"context"
	"crypto/tls"
	"net/netip"
	"slices"
	"testing"

	"github.com/culvert-tunnel/culvert/pkg/transport/quic"
)

// TestClientHello looks at what an edge sees of a connector first (docs/spec/wire.md 3).
func TestClientHello(t *testing.T) {
	for name, c := range map[string]struct {
		strict bool
		groups []tls.CurveID
	}{
		"prefer": {false, []tls.CurveID{tls.X25519MLKEM768, tls.CurveP256}},
		"strict": {true, []tls.CurveID{tls.X25519MLKEM768}},
	} {
		t.Run(name, func(t *testing.T) {
			cert, roots := certificate(t, quic.ServerName)
			hellos := make(chan *tls.ClientHelloInfo, 1)
			conf := &tls.Config{
				Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS13, NextProtos: []string{quic.ALPN},
				GetConfigForClient: func(h *tls.ClientHelloInfo) (*tls.Config, error) {
					hellos <- h
					return nil, nil // keeps the configuration as it is
				},
			}
			l, err := quic.Listen(quic.ListenConfig{Addr: netip.MustParseAddrPort("127.0.0.1:0"), TLS: conf, Settings: quic.EdgeSettings()})
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = l.Close() }()
			s, err := quic.Dial(context.Background(), quic.DialConfig{
				Edge: l.Addr(), TLS: quic.ClientTLS(roots, c.strict), Settings: quic.ConnectorSettings(),
			})
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = s.CloseWithError(0, "") }()
			h := <-hellos
			if !slices.Equal(h.SupportedCurves, c.groups) || h.ServerName != "quic.cftunnel.com" ||
				!slices.Equal(h.SupportedProtos, []string{"argotunnel"}) || !slices.Equal(h.SupportedVersions, []uint16{tls.VersionTLS13}) {
				t.Errorf("groups %v, name %s, protocols %v, versions %x", h.SupportedCurves, h.ServerName, h.SupportedProtos, h.SupportedVersions)
			}
		})
	}
}
