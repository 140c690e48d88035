package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/transport"
	"github.com/culvert-tunnel/culvert/pkg/transport/h2"
	"github.com/culvert-tunnel/culvert/pkg/transport/quic"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
	"github.com/culvert-tunnel/culvert/pkg/wire/rpc"
)

// listeners is how many addresses the edge has: more than connections, so that a connector keeps a spare.
const listeners = 6

// edge is the far end of the connector under test: it accepts every registration and opens a stream per request.
type edge struct {
	caPath string
	addrs  []netip.AddrPort
	lns    []listener
	wg     sync.WaitGroup
	next   atomic.Uint64

	mu       sync.Mutex // guards the fields below
	sessions []transport.Session
	changed  chan struct{}
}

// listener accepts sessions of one protocol.
type listener struct {
	accept func(ctx context.Context) (transport.Session, error)
	addr   netip.AddrPort
	close  func() error
}

func listen(p tunnel.Protocol, conf *tls.Config) (listener, error) {
	addr := netip.MustParseAddrPort("127.0.0.1:0")
	if p == tunnel.HTTP2 {
		l, err := h2.Listen(h2.ListenConfig{Addr: addr, TLS: conf, Settings: h2.EdgeSettings()})
		if err != nil {
			return listener{}, err
		}
		return listener{func(ctx context.Context) (transport.Session, error) { return l.Accept(ctx) }, l.Addr(), l.Close}, nil
	}
	conf = conf.Clone()
	conf.MinVersion, conf.NextProtos = tls.VersionTLS13, []string{quic.ALPN}
	l, err := quic.Listen(quic.ListenConfig{Addr: addr, TLS: conf, Settings: quic.EdgeSettings()})
	if err != nil {
		return listener{}, err
	}
	return listener{func(ctx context.Context) (transport.Session, error) { return l.Accept(ctx) }, l.Addr(), l.Close}, nil
}

func startEdge(ctx context.Context, dir string, p tunnel.Protocol) (*edge, error) {
	cert, caPath, err := selfSigned(dir)
	if err != nil {
		return nil, err
	}
	e := &edge{caPath: caPath, changed: make(chan struct{})}
	conf := &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12}
	for range listeners {
		ln, err := listen(p, conf)
		if err != nil {
			e.stop()
			return nil, fmt.Errorf("edge listener: %w", err)
		}
		e.lns = append(e.lns, ln)
		e.addrs = append(e.addrs, ln.addr)
		e.wg.Go(func() { e.accept(ctx, ln) })
	}
	return e, nil
}

func (e *edge) stop() {
	for _, ln := range e.lns {
		_ = ln.close() // sessions end with it
	}
	e.wg.Wait()
}

func (e *edge) accept(ctx context.Context, ln listener) {
	for {
		s, err := ln.accept(ctx)
		if err != nil {
			return
		}
		e.wg.Go(func() { e.serve(ctx, s) })
	}
}

// serve handles the control stream and drops the session from the list when it ends.
func (e *edge) serve(ctx context.Context, s transport.Session) {
	control, err := s.AcceptStream(ctx)
	if err != nil {
		return // a probe
	}
	//nolint:contextcheck // the control stream is served for as long as the session lives
	_ = rpc.ServeRegistration(s.Context(), rpc.StreamConn(control), registrar{edge: e, session: s})
	<-s.Context().Done()
	e.remove(s)
}

func (e *edge) add(s transport.Session) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.sessions = append(e.sessions, s)
	close(e.changed)
	e.changed = make(chan struct{})
}

func (e *edge) remove(s transport.Session) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for i, have := range e.sessions {
		if have == s {
			e.sessions = append(e.sessions[:i:i], e.sessions[i+1:]...)
			return
		}
	}
}

// waitFor blocks until n sessions are registered.
func (e *edge) waitFor(ctx context.Context, n int) error {
	for {
		e.mu.Lock()
		have, changed := len(e.sessions), e.changed
		e.mu.Unlock()
		if have >= n {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("%d of %d connections: %w", have, n, context.Cause(ctx))
		}
	}
}

// open starts a stream on the next session in turn.
func (e *edge) open(ctx context.Context) (transport.Stream, error) {
	e.mu.Lock()
	if len(e.sessions) == 0 {
		e.mu.Unlock()
		return nil, errors.New("no connection left")
	}
	s := e.sessions[e.next.Add(1)%uint64(len(e.sessions))]
	e.mu.Unlock()
	st, err := s.OpenStream(ctx)
	if err != nil {
		return nil, fmt.Errorf("stream: %w", err)
	}
	return st, nil
}

// registrar accepts every registration.
type registrar struct {
	edge    *edge
	session transport.Session
}

func (r registrar) Register(context.Context, rpc.RegisterRequest) (rpc.ConnectionDetails, error) {
	r.edge.add(r.session)
	return rpc.ConnectionDetails{Location: "bench", RemotelyManaged: true}, nil
}

func (r registrar) Unregister(context.Context) error {
	r.edge.remove(r.session)
	return nil
}

func (r registrar) UpdateLocalConfiguration(context.Context, []byte) error { return nil }

// credentials are the ones that every connector under test gets; the edge does not look at them.
func credentials() tunnel.Credentials {
	return tunnel.Credentials{
		AccountTag: "bench",
		Secret:     make([]byte, 32),
		TunnelID:   tunnel.ID{1, 2, 3, 4, 5, 6, 0x47, 8, 0x89, 10, 11, 12, 13, 14, 15, 16},
	}
}

func selfSigned(dir string) (tls.Certificate, string, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, "", fmt.Errorf("edge key: %w", err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "bench edge"},
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
