package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/transport"
	"github.com/culvert-tunnel/culvert/pkg/transport/mem"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
	"github.com/culvert-tunnel/culvert/pkg/wire/rpc"
	"github.com/culvert-tunnel/culvert/tests/labedge"
)

const (
	// addresses is how many the edge has: more than a connector has connections, so that it keeps a spare.
	addresses = 8
	// handshake is how long a dial takes, and idleTimeout how long a silent session or dial lasts, as with QUIC.
	handshake   = 5 * time.Millisecond
	idleTimeout = 5 * time.Second
)

var errNoResponse = errors.New("no response from the edge")

// index is one connection of a tunnel.
type index struct {
	tunnel tunnel.ID
	index  tunnel.ConnIndex
}

// edges accept every registration, and know what is served. Sessions are in memory, or real ones that listeners accept. All methods are
// safe for concurrent use.
type edges struct {
	mu         sync.Mutex
	sessions   map[*session]struct{}
	served     map[index]int
	registered []time.Time
	dark       bool
	running    sync.WaitGroup
}

func newEdges() *edges {
	return &edges{sessions: map[*session]struct{}{}, served: map[index]int{}}
}

// session is one connection of a connector.
type session struct {
	transport.Session
	edges *edges
	// lose ends a session in memory as if the network had failed; nil for a real one.
	lose func()
	// at is what was registered; it is guarded by edges.mu, as registered is.
	at         index
	registered bool
}

// Dial makes a session in memory.
func (e *edges) Dial(ctx context.Context, _ tunnel.Slot, _ netip.AddrPort, _ tunnel.Protocol) (transport.Session, error) {
	wait := handshake
	if e.isDark() {
		wait = idleTimeout
	}
	if err := pause(ctx, wait); err != nil {
		return nil, &tunnel.ConnError{Reason: tunnel.ReasonDial, Err: err}
	}
	if e.isDark() {
		return nil, &tunnel.ConnError{Reason: tunnel.ReasonDial, Err: errNoResponse}
	}
	near, far := mem.Pair(context.WithoutCancel(ctx))
	s := &session{Session: far, edges: e, lose: far.Lose}
	e.mu.Lock()
	e.sessions[s] = struct{}{}
	e.mu.Unlock()
	e.running.Go(s.serve)
	return near, nil
}

// LocalIP is not known.
func (*edges) LocalIP(context.Context, transport.Session) netip.Addr { return netip.Addr{} }

// Curves are those of no handshake.
func (*edges) Curves(tunnel.Protocol) []tls.CurveID { return nil }

func (e *edges) isDark() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.dark
}

// setDark makes all addresses silent, or respond again. The sessions in memory time out.
func (e *edges) setDark(ctx context.Context, dark bool) {
	e.mu.Lock()
	e.dark = dark
	e.mu.Unlock()
	if !dark || pause(ctx, idleTimeout) != nil {
		return
	}
	e.mu.Lock()
	var lost []func()
	for s := range e.sessions {
		if s.lose != nil {
			lost = append(lost, s.lose)
		}
	}
	e.mu.Unlock()
	for _, lose := range lost {
		lose()
	}
}

// serve serves the control stream of a session until the session ends.
func (s *session) serve() {
	ctx := s.Context()
	if control, err := s.AcceptStream(ctx); err == nil {
		_ = rpc.ServeRegistration(ctx, rpc.StreamConn(control), s) // it ends with the session, or with the stream before
		<-ctx.Done()
	}
	s.leave()
	s.edges.mu.Lock()
	delete(s.edges.sessions, s)
	s.edges.mu.Unlock()
}

// Register accepts every registration.
func (s *session) Register(_ context.Context, req rpc.RegisterRequest) (rpc.ConnectionDetails, error) {
	e := s.edges
	e.mu.Lock()
	defer e.mu.Unlock()
	s.at = index{req.TunnelID, req.Index}
	if !s.registered {
		s.registered = true
		e.served[s.at]++
	}
	e.registered = append(e.registered, time.Now())
	return rpc.ConnectionDetails{UUID: [16]byte{1}, Location: "lab", RemotelyManaged: true}, nil
}

// Unregister takes the connection out.
func (s *session) Unregister(context.Context) error {
	s.leave()
	return nil
}

// UpdateLocalConfiguration takes what index 0 uploads.
func (*session) UpdateLocalConfiguration(context.Context, []byte) error { return nil }

func (s *session) leave() {
	e := s.edges
	e.mu.Lock()
	defer e.mu.Unlock()
	if !s.registered {
		return
	}
	s.registered = false
	if e.served[s.at]--; e.served[s.at] == 0 {
		delete(e.served, s.at)
	}
}

// count is how many connections are served now.
func (e *edges) count() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return len(e.served)
}

// registrations are the times of all registrations since the last call.
func (e *edges) registrations() []time.Time {
	e.mu.Lock()
	defer e.mu.Unlock()
	list := e.registered
	e.registered = nil
	return list
}

// listen opens real addresses, whose certificate has its root in the file that is returned. The listeners close when ctx ends.
func (e *edges) listen(ctx context.Context, dir string, p tunnel.Protocol) (addrs []netip.AddrPort, roots string, err error) {
	cert, roots, err := labedge.SelfSigned(dir)
	if err != nil {
		return nil, "", err
	}
	for range addresses {
		ln, err := labedge.Listen(p, &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12})
		if err != nil {
			return nil, "", fmt.Errorf("edge listener: %w", err)
		}
		addrs = append(addrs, ln.Addr)
		context.AfterFunc(ctx, func() { _ = ln.Close() })
		e.running.Go(func() {
			for {
				accepted, err := ln.Accept(ctx)
				if err != nil {
					return
				}
				s := &session{Session: accepted, edges: e}
				e.running.Go(s.serve)
			}
		})
	}
	return addrs, roots, nil
}

// pause waits, or returns why ctx ended.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
