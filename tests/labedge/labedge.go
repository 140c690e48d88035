// Package labedge has the listeners of small edges that tests and measurements make for themselves.
package labedge

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/transport"
	"github.com/culvert-tunnel/culvert/pkg/transport/h2"
	"github.com/culvert-tunnel/culvert/pkg/transport/quic"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

// Listener accepts sessions of one protocol. Those that it accepted end when it is closed.
type Listener struct {
	Accept func(ctx context.Context) (transport.Session, error)
	Addr   netip.AddrPort
	Close  func() error
}

// Listen opens a port of 127.0.0.1 for sessions of connectors over p. The protocols of conf are set by it.
func Listen(p tunnel.Protocol, conf *tls.Config) (Listener, error) {
	addr := netip.MustParseAddrPort("127.0.0.1:0")
	if p == tunnel.HTTP2 {
		l, err := h2.Listen(h2.ListenConfig{Addr: addr, TLS: conf, Settings: h2.EdgeSettings()})
		if err != nil {
			return Listener{}, err
		}
		return Listener{func(ctx context.Context) (transport.Session, error) { return l.Accept(ctx) }, l.Addr(), l.Close}, nil
	}
	conf = conf.Clone()
	conf.MinVersion, conf.NextProtos = tls.VersionTLS13, []string{quic.ALPN}
	l, err := quic.Listen(quic.ListenConfig{Addr: addr, TLS: conf, Settings: quic.EdgeSettings()})
	if err != nil {
		return Listener{}, err
	}
	return Listener{func(ctx context.Context) (transport.Session, error) { return l.Accept(ctx) }, l.Addr(), l.Close}, nil
}

// SelfSigned makes a certificate for the names that connectors expect of an edge, and writes it into a file of dir, as the roots to trust.
func SelfSigned(dir string) (tls.Certificate, string, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, "", fmt.Errorf("edge key: %w", err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "lab edge"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		DNSNames:              []string{"quic.cftunnel.com", "h2.cftunnel.com", "probe.cftunnel.com"},
		IsCA:                  true,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		return tls.Certificate{}, "", fmt.Errorf("edge certificate: %w", err)
	}
	path := filepath.Join(dir, "ca.pem")
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		return tls.Certificate{}, "", fmt.Errorf("edge certificate: %w", err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, path, nil
}
