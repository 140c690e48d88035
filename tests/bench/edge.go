package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"

	"github.com/culvert-tunnel/culvert/pkg/transport"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
	"github.com/culvert-tunnel/culvert/pkg/wire/rpc"
	"github.com/culvert-tunnel/culvert/tests/labedge"
)

// listeners is how many addresses the edge has: more than connections, so that a connector keeps a spare.
const listeners = 6

// edge is the far end of the connector under test: it accepts every registration and opens a stream per request.
type edge struct {
	caPath string
	addrs  []netip.AddrPort
	lns    []labedge.Listener
	wg     sync.WaitGroup
	next   atomic.Uint64

	mu       sync.Mutex // guards the fields below
	sessions []transport.Session
	changed  chan struct{}
}

func startEdge(ctx context.Context, dir string, p tunnel.Protocol) (*edge, error) {
	cert, caPath, err := labedge.SelfSigned(dir)
	if err != nil {
		return nil, err
	}
	e := &edge{caPath: caPath, changed: make(chan struct{})}
	conf := &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12}
	for range listeners {
		ln, err := labedge.Listen(p, conf)
		if err != nil {
			e.stop()
			return nil, fmt.Errorf("edge listener: %w", err)
		}
		e.lns = append(e.lns, ln)
		e.addrs = append(e.addrs, ln.Addr)
		e.wg.Go(func() { e.accept(ctx, ln) })
	}
	return e, nil
}

func (e *edge) stop() {
	for _, ln := range e.lns {
		_ = ln.Close() // sessions end with it
	}
	e.wg.Wait()
}

func (e *edge) accept(ctx context.Context, ln labedge.Listener) {
	for {
		s, err := ln.Accept(ctx)
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
