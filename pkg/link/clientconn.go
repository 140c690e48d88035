package link

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"sync"
	"syscall"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/link/frame"
)

// clientConn is the worker's end of one connection of exclusive mode. The pool owns it while it is idle, and the goroutine of
// a flow while that flow runs.
type clientConn struct {
	unix bool
	raw  syscall.RawConn
	fr   frameReader
	fw   frameWriter
	// instance and features are from the proxy's HELLO.
	instance string
	features uint64
	id       uint32
	used     bool
	goAway   bool
	idleAt   time.Time

	giveUp giveUp
	// peek is hasInput's result; the closure is made once.
	readable bool
	peek     func(fd uintptr) bool
}

// dialConn connects and waits for the proxy's HELLO, so that no byte of a flow is sent to a proxy that hangs or has just
// exited.
func dialConn(ctx context.Context, e Endpoint, conf *tls.Config, bufs *buffers) (*clientConn, error) {
	nc, err := e.dial(ctx, conf)
	if err != nil {
		return nil, err
	}
	c := &clientConn{unix: e.IsUnix(), raw: rawConn(nc)}
	c.fr = frameReader{nc: nc, bufs: bufs, in: bufs.get(smallBuffer)}
	c.fw.init(nc)
	c.peek = func(fd uintptr) bool {
		c.readable = hasInput(fd)
		return true
	}
	if err := c.greet(ctx); err != nil {
		c.close()
		return nil, err
	}
	if c.fr.buffered() == 0 {
		c.fr.release()
	}
	c.giveUp.init(nc)
	return c, nil
}

func (c *clientConn) greet(ctx context.Context) error {
	if t, ok := ctx.Deadline(); ok {
		if err := c.fr.nc.SetReadDeadline(t); err != nil {
			return err
		}
	}
	stop := context.AfterFunc(ctx, func() { _ = c.fr.nc.SetReadDeadline(past()) })
	info, err := readHello(&c.fr)
	if !stop() && err == nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		return err
	}
	c.instance, c.features = info.Instance, info.Features
	return c.fr.nc.SetReadDeadline(time.Time{})
}

func (c *clientConn) close() { _ = c.fr.nc.Close() } // a second close is harmless

// isStale reports whether an idle connection was closed or has input. The only frame that may come on an idle connection is
// GOAWAY.
func (c *clientConn) isStale() bool {
	if c.raw == nil {
		return false
	}
	c.readable = false
	return c.raw.Read(c.peek) != nil || c.readable
}

// readsGoAway reads the input of an idle connection and reports whether it is a GOAWAY.
func (c *clientConn) readsGoAway() bool {
	h, err := c.fr.header()
	return err == nil && h.Type == frame.GoAway
}

// start writes HELLO on a new connection, OPEN, and as much of f.First as fits, in one write. It adds FIN if that is the whole
// request. It returns how many bytes of f.First it wrote, and whether the kernel accepted any byte.
func (c *clientConn) start(f *Flow) (taken int, accepted bool, err error) {
	c.id++
	size := frame.OpenSize + frame.HeaderSize + len(f.First)
	if !c.used {
		size += helloRoom
	}
	out := c.fr.bufs.get(min(size, largeBuffer))
	b := out.b[:0]
	if !c.used {
		b = frame.AppendHello(b, hello(""))
	}
	b = frame.AppendOpen(b, c.id, frame.OpenInfo{
		Kind:      uint8(f.Meta.Kind),
		Tunnel:    f.Meta.Tunnel,
		Connector: f.Meta.Connector,
		Index:     uint8(f.Meta.Index),
		Repeat:    f.Meta.Repeat,
	})
	taken = min(len(f.First), cap(b)-len(b)-frame.HeaderSize, maxFirst)
	if taken > 0 || f.EOF {
		b = frame.AppendData(b, c.id, f.First[:taken], f.EOF && taken == len(f.First))
	}
	n, err := c.fw.nc.Write(b)
	c.fr.bufs.put(out)
	c.used = true
	return taken, n > 0, err
}

const (
	// helloRoom is the size of the worker's HELLO frame.
	helloRoom = frame.HeaderSize + 16
	// maxFirst bounds what is written before the response is read. It must fit the socket's buffer: otherwise a proxy that
	// responds without reading and this end would wait for each other.
	maxFirst = 32 << 10
)

// giveUp closes the connection when the context of the edge stream or of Carry ends. A timer arms it, so that short flows do
// not pay for it.
type giveUp struct {
	nc    net.Conn
	timer *time.Timer

	// mu guards the rest.
	mu       sync.Mutex
	flow     uint64 // counts flows, so that a late call does not end the next one
	edge     EdgeStream
	ctx      context.Context //nolint:containedctx // of the flow that runs, for the timer
	finSent  bool            // or about to be: the end of the edge stream's context no longer matters
	cause    error
	stopEdge func() bool
	stopCtx  func() bool
}

func (g *giveUp) init(nc net.Conn) {
	g.nc = nc
	g.timer = time.AfterFunc(time.Hour, g.arm)
	g.timer.Stop()
}

// start begins to watch a flow.
func (g *giveUp) start(ctx context.Context, edge EdgeStream) {
	g.mu.Lock()
	g.flow++
	g.ctx, g.edge, g.finSent, g.cause = ctx, edge, false, nil
	g.mu.Unlock()
	g.timer.Reset(watchDelay)
}

// arm watches both contexts. It is the timer's function.
func (g *giveUp) arm() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.edge == nil || g.stopCtx != nil {
		return
	}
	flow, ctx := g.flow, g.ctx
	g.stopCtx = context.AfterFunc(ctx, func() { g.fire(flow, context.Cause(ctx)) })
	if !g.finSent {
		ec := g.edge.Context()
		g.stopEdge = context.AfterFunc(ec, func() { g.fire(flow, context.Cause(ec)) })
	}
}

// fire ends the flow, unless it is already over.
func (g *giveUp) fire(flow uint64, cause error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.flow != flow || g.edge == nil || g.cause != nil {
		return
	}
	if cause == nil {
		cause = context.Canceled
	}
	g.cause = cause
	_ = g.nc.Close() // makes pending reads and writes fail
	g.edge.CancelRead(0)
}

// beforeFIN must be called before FIN is sent to the edge, because that ends the context of the edge stream. It reports
// whether the flow goes on.
func (g *giveUp) beforeFIN() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.finSent = true
	if g.stopEdge != nil {
		g.stopEdge()
		g.stopEdge = nil
	}
	return g.cause == nil
}

// stop ends the watch after the flow. It returns the cause if the watch ended the flow.
func (g *giveUp) stop() error {
	g.timer.Stop()
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.stopEdge != nil {
		g.stopEdge()
	}
	if g.stopCtx != nil {
		g.stopCtx()
	}
	g.edge, g.ctx, g.stopEdge, g.stopCtx = nil, nil, nil, nil
	return g.cause
}

// takes reports whether the proxy can be given f: a repeat needs a proxy that checks that the request is safe.
func (c *clientConn) takes(f *Flow) bool {
	return !f.Meta.Repeat || c.features&frame.FeatureRepeat != 0
}

// isUnread reports whether err, from a connection without a response, proves that the proxy did not read the bytes of the one
// write: closing a Unix socket gives the peer a reset if bytes were unread, and an end otherwise.
func (c *clientConn) isUnread(err error) bool { return c.unix && errors.Is(err, syscall.ECONNRESET) }

func protocolError(h frame.Header) error {
	return fmt.Errorf("link frame type %d for stream %d: %w", h.Type, h.Stream, errProtocol)
}
