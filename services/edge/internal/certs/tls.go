package certs

import (
	"crypto/tls"
	"crypto/x509"
	"net"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/culvert-tunnel/culvert/pkg/filewatch"
)

// connectorNames are the server names that connectors verify (docs/spec/wire.md 3).
func connectorNames() []string {
	return []string{"quic.cftunnel.com", "h2.cftunnel.com", "probe.cftunnel.com"}
}

// quicALPN is the only protocol that connectors offer over QUIC.
const quicALPN = "argotunnel"

// ConnectorTLS is the server side for connectors over QUIC: TLS 1.3 with key exchange groups that stock connectors
// offer (docs/spec/wire.md 3).
func (a *Authority) ConnectorTLS() (*tls.Config, error) {
	if _, err := a.Leaf(connectorNames()...); err != nil {
		return nil, err
	}
	return &tls.Config{
		MinVersion:       tls.VersionTLS13,
		NextProtos:       []string{quicALPN},
		CurvePreferences: []tls.CurveID{tls.X25519MLKEM768, tls.CurveP256, tls.X25519},
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			return a.Leaf(connectorNames()...)
		},
	}, nil
}

// PublicTLS is the server side for visitors. If the server name of a handshake has a route, the certificate is for the pattern of
// that route; otherwise it is for the default names.
func (a *Authority) PublicTLS(defaults []string, pattern func(host string) (string, bool)) *tls.Config {
	names := slices.Concat([]string{"localhost", "127.0.0.1", "::1"}, defaults)
	return &tls.Config{
		MinVersion: tls.VersionTLS12,
		NextProtos: []string{"h2", "http/1.1"},
		GetCertificate: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
			p, ok := pattern(hello.ServerName)
			if !ok || p == "*" || slices.Contains(names, hello.ServerName) {
				return a.Leaf(names...)
			}
			if domain, wild := strings.CutPrefix(p, "*."); wild && strings.Count(hello.ServerName, ".") > strings.Count(domain, ".")+1 {
				// A wildcard in a certificate covers one label only; a pattern covers any number.
				_, parent, _ := strings.Cut(hello.ServerName, ".")
				return a.Leaf("*." + strings.ToLower(parent))
			}
			return a.Leaf(p)
		},
	}
}

// AdminTLS is the server side of the admin API over TCP: a certificate for the default names of PublicTLS and for the address that
// the client has connected to.
func (a *Authority) AdminTLS(defaults []string) *tls.Config {
	names := slices.Concat([]string{"localhost", "127.0.0.1", "::1"}, defaults)
	return &tls.Config{
		MinVersion: tls.VersionTLS13,
		NextProtos: []string{"http/1.1"},
		GetCertificate: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
			if hello.Conn == nil {
				return a.Leaf(names...)
			}
			host, _, err := net.SplitHostPort(hello.Conn.LocalAddr().String())
			if err != nil || slices.Contains(names, host) {
				return a.Leaf(names...)
			}
			return a.Leaf(append(slices.Clone(names), host)...)
		},
	}
}

// FileTLS serves the certificate in two files. When w sees that the files have changed, new handshakes use the new pair; a pair that
// cannot be read or whose key does not fit leaves the former one in use.
func FileTLS(w *filewatch.Watcher, certFile, keyFile string) (*tls.Config, error) {
	var pair atomic.Pointer[tls.Certificate]
	_, err := w.Add(filewatch.Set{Name: "public certificate", Paths: []string{certFile, keyFile}, Apply: func(contents [][]byte) error {
		c, err := tls.X509KeyPair(contents[0], contents[1])
		if err == nil {
			pair.Store(&c)
		}
		return err
	}})
	if err != nil {
		return nil, err
	}
	return &tls.Config{
		MinVersion:     tls.VersionTLS12,
		NextProtos:     []string{"h2", "http/1.1"},
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return pair.Load(), nil },
	}, nil
}

// Pool returns a pool with the authority's certificate only.
func (a *Authority) Pool() *x509.CertPool {
	p := x509.NewCertPool()
	p.AddCert(a.root())
	return p
}
