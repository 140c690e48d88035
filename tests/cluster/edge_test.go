package cluster

import (
	"context"
	"crypto/tls"
	"io"
	"net/netip"
	"slices"
	"sync"
	"testing"

	"github.com/culvert-tunnel/culvert/pkg/edgepool"
	"github.com/culvert-tunnel/culvert/pkg/testkit"
	"github.com/culvert-tunnel/culvert/pkg/transport"
	"github.com/culvert-tunnel/culvert/pkg/transport/h2"
	"github.com/culvert-tunnel/culvert/pkg/transport/quic"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
	"github.com/culvert-tunnel/culvert/pkg/wire/rpc"
	"github.com/culvert-tunnel/culvert/tests/harness"
)

// network is a set of small edges, each on its own address.
type network struct {
	t      *testing.T
	caFile string
	pool   edgepool.Pool
	wg     sync.WaitGroup

	mu sync.Mutex
	// admit returns an error to refuse a registration; nil accepts all.
	admit    func(edge netip.AddrPort, req rpc.RegisterRequest) error
	conns    []*edgeConn
	attempts int

	// cert and doors are used by the test's goroutine only.
	cert  tls.Certificate
	doors []*door
}

// listenBoth opens an edge address over QUIC and, with http2, over HTTP/2 on the same port. In the second case nothing
// accepts QUIC sessions.
func listenBoth(t *testing.T, cert tls.Certificate, http2 bool) (*quic.Listener, *h2.Listener) {
	t.Helper()
	addr := testkit.FreeTCPAndUDP(t)
	l := listenQUIC(t, addr, cert)
	if !http2 {
		return l, nil
	}
	h, err := h2.Listen(h2.ListenConfig{
		Addr: addr, TLS: &tls.Config{Certificates: []tls.Certificate{cert}}, Settings: h2.EdgeSettings(),
	})
	if err != nil {
		t.Fatal(err)
	}
	return l, h
}

func listenQUIC(t *testing.T, addr netip.AddrPort, cert tls.Certificate) *quic.Listener {
	t.Helper()
	l, err := quic.Listen(quic.ListenConfig{
		Addr:     addr,
		TLS:      &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS13, NextProtos: []string{quic.ALPN}},
		Settings: quic.EdgeSettings(),
	})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// edgeConn is one registered connection at an edge.
type edgeConn struct {
	net          *network
	edge         netip.AddrPort
	session      transport.Session
	index        tunnel.ConnIndex
	epoch        tunnel.Epoch
	connector    tunnel.ConnectorID
	localIP      netip.Addr
	config       []byte
	unregistered bool
	gone         bool
	// relieved is true when a newer connection of the same index was live on another address before this one unregistered.
	relieved bool
}

func newNetwork(t *testing.T, edges int) *network {
	t.Helper()
	ca := testkit.NewCA(t)
	cert := ca.Issue(t, quic.ServerName, h2.ServerName)
	ctx, cancel := context.WithCancel(context.Background())
	n := &network{t: t, caFile: ca.File(t)}
	n.pool = edgepool.Pool{Source: edgepool.SourceStatic, Regions: []edgepool.RegionPool{{Name: "region1"}, {Name: "region2"}}}
	var listeners []io.Closer
	for i := range edges {
		if dual(t) {
			n.pool.Regions[i%2].V4 = append(n.pool.Regions[i%2].V4, n.addDoor(ctx, cert))
			continue
		}
		l, h := listenBoth(t, cert, overHTTP2(t))
		listeners = append(listeners, l)
		n.pool.Regions[i%2].V4 = append(n.pool.Regions[i%2].V4, l.Addr())
		if h != nil {
			listeners = append(listeners, h)
			n.wg.Go(func() { accept(ctx, n, h.Addr(), h.Accept) })
			continue
		}
		n.wg.Go(func() { accept(ctx, n, l.Addr(), l.Accept) })
	}
	t.Cleanup(func() {
		cancel()
		n.closeDoors()
		for _, l := range listeners {
			_ = l.Close()
		}
		n.wg.Wait()
	})
	return n
}

func accept[S transport.Session](ctx context.Context, n *network, edge netip.AddrPort, next func(context.Context) (S, error)) {
	for {
		s, err := next(ctx)
		if err != nil {
			return
		}
		n.wg.Go(func() { n.serve(ctx, edge, s) })
	}
}

func (n *network) serve(ctx context.Context, edge netip.AddrPort, s transport.Session) {
	c := &edgeConn{net: n, edge: edge, session: s}
	defer func() {
		n.mu.Lock()
		c.gone = true
		n.mu.Unlock()
	}()
	st, err := s.AcceptStream(s.Context())
	if err != nil {
		return
	}
	_ = rpc.ServeRegistration(ctx, rpc.StreamConn(st), c)
	<-s.Context().Done()
}

// Register accepts a registration unless the test's admit refuses it.
func (c *edgeConn) Register(_ context.Context, req rpc.RegisterRequest) (rpc.ConnectionDetails, error) {
	n := c.net
	n.mu.Lock()
	defer n.mu.Unlock()
	n.attempts++
	if n.admit != nil {
		if err := n.admit(c.edge, req); err != nil {
			return rpc.ConnectionDetails{}, err
		}
	}
	c.index, c.connector, c.localIP = req.Index, req.Options.ConnectorID, req.Options.OriginLocalIP
	var err error
	if c.epoch, err = harness.EpochOf(req.Options.Features); err != nil {
		return rpc.ConnectionDetails{}, err
	}
	n.conns = append(n.conns, c)
	return rpc.ConnectionDetails{UUID: [16]byte{1}, Location: "lab"}, nil
}

// Unregister records whether another connection has taken over the index.
func (c *edgeConn) Unregister(context.Context) error {
	c.net.mu.Lock()
	defer c.net.mu.Unlock()
	c.unregistered = true
	for _, other := range c.net.conns {
		if other.index == c.index && other.epoch > c.epoch && other.edge != c.edge && other.live() {
			c.relieved = true
		}
	}
	return nil
}

// UpdateLocalConfiguration records the configuration that index 0 uploads.
func (c *edgeConn) UpdateLocalConfiguration(_ context.Context, json []byte) error {
	c.net.mu.Lock()
	defer c.net.mu.Unlock()
	c.config = json
	return nil
}

func (c *edgeConn) live() bool { return !c.gone && !c.unregistered }

// live lists the connections that an edge would send requests to.
func (n *network) live() []*edgeConn {
	n.mu.Lock()
	defer n.mu.Unlock()
	var out []*edgeConn
	for _, c := range n.conns {
		if c.live() && c.session.Context().Err() == nil {
			out = append(out, c)
		}
	}
	return out
}

// all lists every connection that was ever accepted, in order.
func (n *network) all() []*edgeConn {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.conns)
}

// tried counts the registrations that connectors requested.
func (n *network) tried() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.attempts
}

// unrelieved lists the connections that were unregistered before another one served their index.
func (n *network) unrelieved() []*edgeConn {
	n.mu.Lock()
	defer n.mu.Unlock()
	var out []*edgeConn
	for _, c := range n.conns {
		if c.unregistered && !c.relieved {
			out = append(out, c)
		}
	}
	return out
}

// indices counts the distinct indices of live connections.
func (n *network) indices() int {
	seen := map[tunnel.ConnIndex]bool{}
	for _, c := range n.live() {
		seen[c.index] = true
	}
	return len(seen)
}

func (n *network) setAdmit(f func(netip.AddrPort, rpc.RegisterRequest) error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.admit = f
}

// request sends one request over a connection and returns the body of the response.
func (c *edgeConn) request(ctx context.Context, path string) (string, error) {
	body, refusal, err := harness.Request(ctx, c.session, "http://app.example.com"+path)
	if refusal != "" {
		return "error: " + refusal, err
	}
	return body, err
}
