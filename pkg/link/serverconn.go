package link

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/link/frame"
	"github.com/culvert-tunnel/culvert/pkg/logkey"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

// Bounds of what a proxy reads of the rest of a request after its handler returned (docs/spec/datapath.md 3).
const (
	drainQuiet = 50 * time.Millisecond // then STOP
	drainTime  = time.Second           // then close
	drainBytes = 256 << 10             // then STOP
	// stopBytes is what may still be under way after STOP: both sockets' buffers, some megabytes each over TCP.
	stopBytes  = 64 << 20
	lingerTime = time.Second
)

var (
	errHungUp  = errors.New("worker hung up")
	errAborted = errors.New("flow aborted")
	errOver    = errors.New("flow is over")
)

// serverConn is the proxy's end of one connection of exclusive mode. Its goroutine reads a flow's OPEN and runs the
// handler itself.
type serverConn struct {
	srv    *Server
	log    *slog.Logger
	ctx    context.Context //nolint:containedctx // the life of the connection, given to the handlers
	cancel context.CancelCauseFunc
	raw    syscall.RawConn
	fr     frameReader
	fw     frameWriter
	watch  watch
	// idle and idleStep belong to readIdle.
	idle     idleRead
	idleStep func(fd uintptr) bool
	// last is the id of the newest flow.
	last atomic.Uint32

	// The rest is guarded by fw.mu.
	flush   *time.Timer
	current *serverStream
	// greeted says that HELLO was sent, leaving that GOAWAY was or will be sent.
	greeted, leaving bool
}

func newServerConn(base context.Context, s *Server, nc net.Conn) *serverConn {
	c := &serverConn{srv: s, log: s.cfg.Logger, raw: rawConn(nc)}
	c.ctx, c.cancel = context.WithCancelCause(base)
	c.fr = frameReader{nc: nc, bufs: &s.bufs}
	c.fw.init(nc)
	c.watch.init(&c.fr, c.raw, s.cfg.ReadAhead || !canWatch, c.kill)
	c.flush = time.AfterFunc(time.Hour, c.flushLate)
	c.flush.Stop()
	if c.fw.joins { // not TLS: the kernel's readiness is the stream's
		c.idleStep = func(fd uintptr) bool { return c.fr.idleStep(fd, &c.idle) }
	}
	return c
}

// kill ends the connection at once, and with it the context of a running handler.
func (c *serverConn) kill(cause error) {
	c.cancel(fmt.Errorf("%w: %w", ErrLost, cause))
	_ = c.fr.nc.Close() // a second close is harmless
}

// serve runs one flow after another.
func (c *serverConn) serve() {
	defer c.kill(errOver)
	err := c.hello()
	if err == nil && c.srv.isDraining() {
		c.goAway()
	}
	for err == nil {
		err = c.serveFlow()
	}
	if !errors.Is(err, errIdleEOF) && !errors.Is(err, net.ErrClosed) {
		c.log.DebugContext(c.ctx, "link connection ended", logkey.Err, err)
	}
}

// hello exchanges the first frames. The worker sends its own together with the first OPEN, so the buffer stays.
func (c *serverConn) hello() error {
	nc := c.fr.nc
	if err := nc.SetDeadline(time.Now().Add(helloTimeout)); err != nil {
		return err
	}
	if err := c.greet(); err != nil {
		return fmt.Errorf("link hello: %w", err)
	}
	if err := c.fr.readIdle(c.raw, c.idleStep, &c.idle); err != nil {
		return err
	}
	if _, err := readHello(&c.fr); err != nil {
		return err
	}
	return nc.SetDeadline(time.Time{})
}

// greet sends HELLO, and GOAWAY if the drain began before it.
func (c *serverConn) greet() error {
	c.fw.mu.Lock()
	defer c.fw.mu.Unlock()
	info := hello(c.srv.cfg.Instance)
	if c.srv.cfg.SafeRepeats {
		info.Features |= frame.FeatureRepeat
	}
	b := frame.AppendHello(nil, info)
	if c.leaving {
		b = c.appendGoAway(b)
	}
	c.greeted = true
	_, err := c.fr.nc.Write(b)
	return err
}

func (c *serverConn) appendGoAway(b []byte) []byte {
	return frame.AppendGoAway(b, frame.GoAwayInfo{Last: c.last.Load() + 1, Reason: frame.GoAwayDrain})
}

func hello(instance string) frame.HelloInfo {
	return frame.HelloInfo{Version: frame.Version, Mode: frame.Exclusive, MaxFrame: frame.MaxPayload, Instance: instance}
}

func readHello(f *frameReader) (frame.HelloInfo, error) {
	h, err := f.header()
	if err != nil {
		return frame.HelloInfo{}, fmt.Errorf("link hello: %w", err)
	}
	if h.Type != frame.Hello {
		return frame.HelloInfo{}, fmt.Errorf("link frame type %d before hello: %w", h.Type, errProtocol)
	}
	p, err := f.payload(h)
	if err != nil {
		return frame.HelloInfo{}, fmt.Errorf("link hello: %w", err)
	}
	info, err := frame.ParseHello(p)
	if err != nil {
		return frame.HelloInfo{}, err
	}
	if info.Version != frame.Version || info.Mode != frame.Exclusive {
		return frame.HelloInfo{}, fmt.Errorf("link version %d mode %d: %w", info.Version, info.Mode, errProtocol)
	}
	return info, nil
}

// serveFlow waits for an OPEN and runs its handler. An error means that the connection cannot be used again.
func (c *serverConn) serveFlow() error {
	if c.fr.in != nil && c.fr.buffered() == 0 {
		c.fr.release()
	}
	if c.fr.in == nil {
		if err := c.fr.readIdle(c.raw, c.idleStep, &c.idle); err != nil {
			return err
		}
	}
	h, err := c.fr.header()
	if err != nil {
		return err
	}
	switch h.Type {
	case frame.Open:
		return c.open(h)
	case frame.Ping:
		return c.pong(h)
	case frame.Stop, frame.GoAway:
		_, err = c.fr.payload(h) // about an earlier flow, or about none
		return err
	default:
		return fmt.Errorf("link frame type %d between flows: %w", h.Type, errProtocol)
	}
}

func (c *serverConn) open(h frame.Header) error {
	p, err := c.fr.payload(h)
	if err != nil {
		return err
	}
	info, err := frame.ParseOpen(p)
	if err != nil {
		return err
	}
	if h.Stream <= c.last.Load() {
		return fmt.Errorf("link stream id %d again: %w", h.Stream, errProtocol)
	}
	s := &serverStream{c: c, id: h.Stream}
	c.fw.mu.Lock()
	c.last.Store(h.Stream)
	c.current = s
	c.fw.mu.Unlock()
	c.watch.start()
	c.srv.cfg.Handler.ServeStream(c.ctx, Meta{
		Kind:      Kind(info.Kind),
		Tunnel:    tunnel.ID(info.Tunnel),
		Connector: tunnel.ConnectorID(info.Connector),
		Index:     tunnel.ConnIndex(info.Index),
		Repeat:    info.Repeat,
	}, s)
	c.watch.stop()
	if err := s.finish(); err != nil {
		return err
	}
	if s.fin && s.left == 0 {
		return nil
	}
	return c.drainRequest(s)
}

func (c *serverConn) pong(h frame.Header) error {
	p, err := c.fr.payload(h)
	if err != nil {
		return err
	}
	token, err := frame.ParsePing(p)
	if err != nil {
		return err
	}
	return c.fw.writeFrame(frame.AppendPing(nil, frame.Pong, token))
}

// drainRequest reads the rest of a request up to its FIN, so that no frame of it is left when the next flow begins.
func (c *serverConn) drainRequest(s *serverStream) error {
	start := time.Now()
	if err := c.fr.nc.SetReadDeadline(start.Add(drainQuiet)); err != nil {
		return err
	}
	err := s.discard(drainBytes)
	if isTimeout(err) || errors.Is(err, errTooMuch) {
		if err := c.fw.writeFrame(frame.AppendCode(nil, frame.Stop, s.id, 0)); err != nil {
			return err
		}
		if err := c.fr.nc.SetReadDeadline(start.Add(drainTime)); err != nil {
			return err
		}
		err = s.discard(stopBytes)
	}
	if err != nil {
		return fmt.Errorf("drain request: %w", err)
	}
	return c.fr.nc.SetReadDeadline(time.Time{})
}

// linger waits for the worker to hang up after a RESET, which could be lost if we closed with bytes unread.
func (c *serverConn) linger(s *serverStream) {
	if c.fr.nc.SetReadDeadline(time.Now().Add(lingerTime)) == nil {
		_ = s.discard(stopBytes) // the connection is closed next in any case
	}
}

// goAway sends GOAWAY: the worker must open no more flows, except the one whose OPEN may be on its way.
func (c *serverConn) goAway() {
	c.fw.mu.Lock()
	defer c.fw.mu.Unlock()
	if c.leaving {
		return
	}
	c.leaving = true
	if !c.greeted || c.fr.nc.SetWriteDeadline(time.Now().Add(goAwayWriteTime)) != nil {
		return
	}
	if _, err := c.fr.nc.Write(c.appendGoAway(nil)); err != nil {
		c.log.DebugContext(c.ctx, "link goaway not sent", logkey.Err, err)
		c.kill(err)
		return
	}
	_ = c.fr.nc.SetWriteDeadline(time.Time{}) // fails on a closed connection only
}

func (s *Server) isDraining() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.draining
}
