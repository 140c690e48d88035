package link

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sony/gobreaker/v2"

	"github.com/culvert-tunnel/culvert/pkg/logkey"
)

// Bounds of a backend.
const (
	// sweepEvery is the time between two checks of the idle connections. It bounds how late a GOAWAY or a close is noticed.
	sweepEvery = 250 * time.Millisecond
	// leaveTime is how long a proxy that sent GOAWAY gets no new flows if there is another one.
	leaveTime = 2 * time.Second
	// inspectTime bounds the read of a GOAWAY on an idle connection.
	inspectTime = 10 * time.Millisecond
	// A breaker opens after breakerFailures in a row, and lets one flow through after breakerOpen.
	breakerFailures = 5
	breakerOpen     = time.Second
)

// errNeutral is the result of a flow that ended before it showed whether the proxy works. Breakers do not count it.
var errNeutral = errors.New("neither success nor failure")

// backend is one proxy: its breaker and its idle connections.
type backend struct {
	Proxy
	b        *Balancer
	breaker  *gobreaker.TwoStepCircuitBreaker[struct{}]
	inFlight atomic.Int64
	// leaving is the time, in Unix nanoseconds, until which other proxies are preferred.
	leaving atomic.Int64
	sweeper *time.Timer

	// mu guards the rest.
	mu      sync.Mutex
	idle    []*clientConn // the last one used is taken first
	swept   bool          // the sweeper is armed
	retired bool
}

func newBackend(b *Balancer, p Proxy) *backend {
	be := &backend{Proxy: p, b: b}
	be.breaker = gobreaker.NewTwoStepCircuitBreaker[struct{}](gobreaker.Settings{
		Name:        string(p.ID),
		Timeout:     breakerOpen,
		ReadyToTrip: func(c gobreaker.Counts) bool { return c.ConsecutiveFailures >= breakerFailures },
		IsExcluded:  func(err error) bool { return errors.Is(err, errNeutral) },
		OnStateChange: func(_ string, from, to gobreaker.State) {
			b.cfg.Logger.Warn("link breaker changed", logkey.ProxyID, p.ID, logkey.From, from.String(), logkey.To, to.String())
		},
	})
	be.sweeper = time.AfterFunc(time.Hour, be.sweep)
	be.sweeper.Stop()
	return be
}

// carry runs f on this proxy. If an idle connection turns out to be stale, carry uses a fresh one. A datagram flow, which may
// be silent for long, always gets a fresh one: the proxy's HELLO then shows that the proxy works.
func (be *backend) carry(ctx context.Context, f *Flow) attempt {
	settle, err := be.breaker.Allow()
	if err != nil {
		return attempt{err: fmt.Errorf("proxy %s: %w", be.ID, err), notTaken: true}
	}
	be.inFlight.Add(1)
	defer be.inFlight.Add(-1)
	var c *clientConn
	if f.Meta.Kind != KindDatagrams {
		c = be.get()
	}
	if c != nil && !c.takes(f) {
		be.put(c, attempt{reusable: true})
		settle(errNeutral)
		return attempt{err: be.cannotRepeat(), notTaken: true}
	}
	if c != nil {
		x := clientFlow{c: c, edge: f.Stream, settle: settle, goAway: be.leave}
		o := x.run(ctx, f)
		be.put(c, o)
		if !o.notTaken {
			be.settle(&x, o)
			return o
		}
		be.dropIdle() // the other idle connections are as old
	}
	c, err = be.dial(ctx)
	if err != nil {
		if ctx.Err() != nil {
			settle(errNeutral)
			f.Stream.CancelRead(0)
			f.Stream.CancelWrite(0)
			return attempt{err: fmt.Errorf("%w: %w", ErrEdge, context.Cause(ctx))}
		}
		settle(err)
		return attempt{err: fmt.Errorf("proxy %s: %w", be.ID, err), notTaken: true}
	}
	if !c.takes(f) {
		c.close()
		settle(errNeutral)
		return attempt{err: be.cannotRepeat(), notTaken: true}
	}
	x := clientFlow{c: c, edge: f.Stream, settle: settle, goAway: be.leave}
	if f.Meta.Kind == KindDatagrams || be.breaker.State() == gobreaker.StateHalfOpen {
		x.settled() // HELLO proves that the proxy works: a slow response must not keep the breaker half-open
	}
	o := x.run(ctx, f)
	be.put(c, o)
	be.settle(&x, o)
	return o
}

func (be *backend) cannotRepeat() error {
	return fmt.Errorf("proxy %s does not check repeats", be.ID)
}

// settle reports the result to the breaker, unless the first frame of the response did.
func (be *backend) settle(x *clientFlow, o attempt) {
	switch {
	case x.settle == nil:
	case errors.Is(o.err, ErrEdge):
		x.settle(errNeutral)
	default:
		x.settle(o.err)
		if o.err != nil {
			be.dropIdle() // they lead to the same process, which may be gone
		}
	}
}

func (be *backend) dial(ctx context.Context) (*clientConn, error) {
	ctx, cancel := context.WithTimeout(ctx, be.b.cfg.DialTimeout)
	defer cancel()
	return dialConn(ctx, be.Endpoint, be.b.clientTLS(), &be.b.bufs)
}

// get takes an idle connection, or returns nil. It checks TCP connections for a close by the peer; on a Unix socket the first
// write fails in that case.
func (be *backend) get() *clientConn {
	for {
		c := be.pop()
		if c == nil || c.unix || !c.isStale() {
			return c
		}
		be.inspect(c)
	}
}

func (be *backend) pop() *clientConn {
	be.mu.Lock()
	defer be.mu.Unlock()
	n := len(be.idle) - 1
	if n < 0 {
		return nil
	}
	c := be.idle[n]
	be.idle[n] = nil
	be.idle = be.idle[:n]
	return c
}

// put takes a connection back after a flow.
func (be *backend) put(c *clientConn, o attempt) {
	if c.fr.in != nil {
		c.fr.release()
	}
	if !o.reusable || !be.keep(c) {
		c.close()
	}
}

func (be *backend) keep(c *clientConn) bool {
	c.idleAt = time.Now()
	be.mu.Lock()
	defer be.mu.Unlock()
	if be.retired || len(be.idle) >= be.b.cfg.MaxIdle {
		return false
	}
	be.idle = append(be.idle, c)
	if !be.swept {
		be.swept = true
		be.sweeper.Reset(sweepEvery)
	}
	return true
}

// sweep closes idle connections that have expired or that the proxy has closed. It is the function of the timer sweeper.
func (be *backend) sweep() {
	old := time.Now().Add(-be.b.cfg.IdleTimeout)
	var expired, touched []*clientConn
	be.mu.Lock()
	kept := be.idle[:0]
	for _, c := range be.idle {
		switch {
		case c.idleAt.Before(old):
			expired = append(expired, c)
		case c.isStale():
			touched = append(touched, c)
		default:
			kept = append(kept, c)
		}
	}
	clear(be.idle[len(kept):])
	be.idle = kept
	be.swept = len(kept) > 0
	if be.swept {
		be.sweeper.Reset(sweepEvery)
	}
	be.mu.Unlock()
	for _, c := range expired {
		c.close()
	}
	for _, c := range touched {
		be.inspect(c)
	}
}

// inspect closes an idle connection that is readable. If the cause is a GOAWAY, the proxy counts as leaving.
func (be *backend) inspect(c *clientConn) {
	defer c.close()
	if c.fr.nc.SetReadDeadline(time.Now().Add(inspectTime)) != nil {
		return
	}
	c.fr.in = c.fr.bufs.get(smallBuffer)
	defer c.fr.release()
	if c.readsGoAway() {
		be.leave()
	}
}

// leave makes new flows prefer other proxies for leaveTime. It is not a failure for the breaker.
func (be *backend) leave() {
	be.leaving.Store(time.Now().Add(leaveTime).UnixNano())
	be.dropIdle()
}

func (be *backend) isLeaving() bool {
	t := be.leaving.Load()
	return t != 0 && time.Now().UnixNano() < t
}

func (be *backend) dropIdle() {
	be.mu.Lock()
	idle := be.idle
	be.idle = nil
	be.mu.Unlock()
	for _, c := range idle {
		c.close()
	}
}

// retire closes the idle connections. Connections in use are closed when their flow ends.
func (be *backend) retire() {
	be.mu.Lock()
	be.retired = true
	be.mu.Unlock()
	be.sweeper.Stop()
	be.dropIdle()
}

func (be *backend) idleCount() int {
	be.mu.Lock()
	defer be.mu.Unlock()
	return len(be.idle)
}
