package virtual

import (
	"context"
	"crypto/tls"
	"errors"
	"net/netip"
	"sync"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/transport"
	"github.com/culvert-tunnel/culvert/pkg/transport/mem"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
	"github.com/culvert-tunnel/culvert/pkg/wire/rpc"
	"github.com/culvert-tunnel/culvert/tests/harness"
)

const (
	// roundTrip is the time that a handshake takes.
	roundTrip = 5 * time.Millisecond
	// idleTimeout is QUIC's: after it a silent session is over, and a dial to a silent address fails.
	idleTimeout = 5 * time.Second
)

var errNoResponse = errors.New("no response from the edge")

// edges are the addresses of an edge in memory. All methods are safe for concurrent use.
type edges struct {
	mu     sync.Mutex
	conns  []*edgeConn
	silent map[netip.AddrPort]bool
	// unreachable holds the workers that do not reach any address.
	unreachable map[tunnel.WorkerID]bool
	served      sync.WaitGroup
	// registered is when each registration came.
	registered []time.Time
}

func newEdges() *edges {
	return &edges{silent: map[netip.AddrPort]bool{}, unreachable: map[tunnel.WorkerID]bool{}}
}

// edgeConn is one registered connection at an edge address.
type edgeConn struct {
	edges        *edges
	edge         netip.AddrPort
	worker       tunnel.WorkerID
	session      *mem.Session
	index        tunnel.ConnIndex
	epoch        tunnel.Epoch
	connector    tunnel.ConnectorID
	unregistered bool
}

// dialer is the way of one worker to the edges.
type dialer struct {
	edges  *edges
	worker tunnel.WorkerID
}

// Dial makes a session, unless the worker or the address is cut off.
func (d dialer) Dial(ctx context.Context, _ tunnel.Slot, edge netip.AddrPort, _ tunnel.Protocol) (transport.Session, error) {
	wait := roundTrip
	if d.edges.isDark(d.worker, edge) {
		wait = idleTimeout
	}
	select {
	case <-ctx.Done():
		return nil, &tunnel.ConnError{Reason: tunnel.ReasonDial, Err: context.Cause(ctx)}
	case <-time.After(wait):
	}
	if d.edges.isDark(d.worker, edge) {
		return nil, &tunnel.ConnError{Reason: tunnel.ReasonDial, Err: errNoResponse}
	}
	near, far := mem.Pair(context.WithoutCancel(ctx))
	c := &edgeConn{edges: d.edges, edge: edge, worker: d.worker, session: far}
	d.edges.served.Go(c.serve)
	return near, nil
}

// LocalIP is not known.
func (dialer) LocalIP(context.Context, transport.Session) netip.Addr { return netip.Addr{} }

// Curves are those of no handshake.
func (dialer) Curves(tunnel.Protocol) []tls.CurveID { return nil }

func (e *edges) isDark(worker tunnel.WorkerID, edge netip.AddrPort) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.silent[edge] || e.unreachable[worker]
}

// setSilent makes an address stop responding, or respond again. Its sessions time out.
func (e *edges) setSilent(edge netip.AddrPort, silent bool) {
	e.mu.Lock()
	e.silent[edge] = silent
	e.mu.Unlock()
	e.loseDark()
}

// setUnreachable cuts one worker off from all addresses, or connects it again. Its sessions time out.
func (e *edges) setUnreachable(worker tunnel.WorkerID, unreachable bool) {
	e.mu.Lock()
	e.unreachable[worker] = unreachable
	e.mu.Unlock()
	e.loseDark()
}

// loseDark ends the sessions that pass nothing after the idle timeout, if they still pass nothing then.
func (e *edges) loseDark() {
	e.served.Go(func() {
		time.Sleep(idleTimeout) //nolint:forbidigo // fake time
		for _, c := range e.live() {
			if e.isDark(c.worker, c.edge) {
				c.session.Lose()
			}
		}
	})
}

func (c *edgeConn) serve() {
	st, err := c.session.AcceptStream(c.session.Context())
	if err != nil {
		return
	}
	_ = rpc.ServeRegistration(c.session.Context(), rpc.StreamConn(st), c) // ends with the session
	<-c.session.Context().Done()
}

// Register accepts every registration.
func (c *edgeConn) Register(_ context.Context, req rpc.RegisterRequest) (rpc.ConnectionDetails, error) {
	e := c.edges
	e.mu.Lock()
	defer e.mu.Unlock()
	c.index, c.connector = req.Index, req.Options.ConnectorID
	var err error
	if c.epoch, err = harness.EpochOf(req.Options.Features); err != nil {
		return rpc.ConnectionDetails{}, err
	}
	e.conns = append(e.conns, c)
	e.registered = append(e.registered, time.Now())
	return rpc.ConnectionDetails{UUID: [16]byte{1}, Location: "lab"}, nil
}

// Unregister notes that the connection gets no more requests.
func (c *edgeConn) Unregister(context.Context) error {
	c.edges.mu.Lock()
	defer c.edges.mu.Unlock()
	c.unregistered = true
	return nil
}

// UpdateLocalConfiguration takes what index 0 uploads.
func (*edgeConn) UpdateLocalConfiguration(context.Context, []byte) error { return nil }

// live lists the connections that the edge would send requests to.
func (e *edges) live() []*edgeConn {
	e.mu.Lock()
	defer e.mu.Unlock()
	var out []*edgeConn
	for _, c := range e.conns {
		if !c.unregistered && c.session.Context().Err() == nil {
			out = append(out, c)
		}
	}
	return out
}

// registrations are the times of all registrations.
func (e *edges) registrations() []time.Time {
	e.mu.Lock()
	defer e.mu.Unlock()
	return append([]time.Time(nil), e.registered...)
}

// saidGoodbye reports whether a connection was unregistered.
func (e *edges) saidGoodbye(c *edgeConn) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return c.unregistered
}

// holders maps each served index to the workers that serve it.
func (e *edges) holders() map[tunnel.ConnIndex][]tunnel.WorkerID {
	out := map[tunnel.ConnIndex][]tunnel.WorkerID{}
	for _, c := range e.live() {
		out[c.index] = append(out[c.index], c.worker)
	}
	return out
}

// request sends one request over a connection.
func (c *edgeConn) request(ctx context.Context) error {
	_, refusal, err := harness.Request(ctx, c.session, "http://app.example.com/")
	if refusal != "" {
		return errors.New(refusal)
	}
	return err
}
