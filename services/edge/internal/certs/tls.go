package certs

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"time"
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

// PublicTLS is the server side for visitors. A visitor who asks for a routed name gets a certificate for the pattern
// that covers names; everybody else gets one for the default names.
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
				// A wildcard in a certificate covers one label only, our patterns cover any number.
				_, parent, _ := strings.Cut(hello.ServerName, ".")
				return a.Leaf("*." + strings.ToLower(parent))
			}
			return a.Leaf(p)
		},
	}
}

// reloadEvery is how often certificate files are looked at again.
const reloadEvery = time.Minute

// FileTLS serves a certificate from files, and takes a renewed one without a restart.
func FileTLS(certFile, keyFile string, now func() time.Time) (*tls.Config, error) {
	f := &files{cert: certFile, key: keyFile, now: now}
	if _, err := f.get(); err != nil {
		return nil, err
	}
	return &tls.Config{
		MinVersion:     tls.VersionTLS12,
		NextProtos:     []string{"h2", "http/1.1"},
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return f.get() },
	}, nil
}

type files struct {
	cert, key string
	now       func() time.Time

	// mu protects the fields below.
	mu      sync.Mutex
	pair    *tls.Certificate
	checked time.Time
	changed time.Time
}

// get keeps the pair it has while the files are unchanged, unreadable or half replaced.
func (f *files) get() (*tls.Certificate, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.pair != nil && f.now().Sub(f.checked) < reloadEvery {
		return f.pair, nil
	}
	f.checked = f.now()
	info, err := os.Stat(f.cert)
	if err == nil && f.pair != nil && info.ModTime().Equal(f.changed) {
		return f.pair, nil
	}
	var pair tls.Certificate
	if err == nil {
		pair, err = tls.LoadX509KeyPair(f.cert, f.key)
	}
	if err != nil {
		if f.pair != nil {
			return f.pair, nil
		}
		return nil, fmt.Errorf("public certificate %s: %w", f.cert, err)
	}
	f.pair, f.changed = &pair, info.ModTime()
	return f.pair, nil
}

// Pool is a root pool with the authority's certificate only.
func (a *Authority) Pool() *x509.CertPool {
	p := x509.NewCertPool()
	p.AddCert(a.cert)
	return p
}
