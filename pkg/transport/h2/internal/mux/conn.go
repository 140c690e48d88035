package mux

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

// Conn is one HTTP/2 connection.
type Conn struct {
	nc   net.Conn
	cfg  Config
	ctx  context.Context //nolint:containedctx // it is the connection's own life, handed out by Context
	stop context.CancelCauseFunc
	runs sync.WaitGroup

	// Used by the reading goroutine only.
	br       *bufio.Reader
	fr       *http2.Framer
	sections *sectionDecoder
	blocks   blockPool

	// window is the size of the receive window, recvWindow what the peer may still send, and unacked what was read of
	// that and not granted again yet.
	window, recvWindow, unacked atomic.Int64
	// heldHeaders is the decoded size of all headers and trailers that no reader has taken yet.
	heldHeaders atomic.Int64
	// lastRead is when the last frame came, on the clock that started at began.
	lastRead atomic.Int64
	// written counts the bytes that went to the socket, and writtenBefore those that did when the last frame came.
	written, writtenBefore atomic.Int64
	began                  time.Time
	// rtt is the round trip that PINGs have measured, in nanoseconds.
	rtt atomic.Int64

	// mu guards the rest: everything about sending, and the table of streams.
	mu      sync.Mutex
	err     *tunnel.ConnError // why the connection has ended
	pings   pings
	streams map[uint32]*Stream
	// lastPeer is the peer's newest stream id, nextOwn our next one. unsent numbers streams that have no id yet.
	lastPeer, nextOwn, unsent uint32
	// foreign and own count streams. A stream of the peer counts until this end has closed it.
	foreign, own uint32
	maxForeign   uint32
	admitted     bool
	peer         peerSettings
	goneAway     bool // the peer sent GOAWAY
	goneText     string
	writeErr     error // writing failed because the peer closed the socket; the reader finds out why

	out, spare []byte
	// control counts the bytes of out that the peer provoked: replies and resets because of its errors.
	control int
	// resets counts the RST_STREAM frames in out for streams that the peer opened.
	resets     uint32
	toWrite    sync.Cond
	sendWindow int64
	// turn has the streams that wait for the connection's window or buffer; opening is for those that wait for the peer's
	// limit of streams.
	turn    []*Stream
	opening sync.Cond
	enc     *hpack.Encoder
	encBuf  bytes.Buffer
}

// peerSettings are the limits from the peer's SETTINGS.
type peerSettings struct {
	window, frame, streams, headerList uint32
}

// New starts HTTP/2 on an established connection, which it owns from now on. It keeps the values of ctx, but does not end with it.
func New(ctx context.Context, nc net.Conn, cfg Config) *Conn {
	c := &Conn{
		nc: nc, cfg: cfg, began: time.Now(),
		br:      bufio.NewReaderSize(nc, readBuffer),
		streams: make(map[uint32]*Stream),
		nextOwn: 1,
		peer:    peerSettings{window: initialWindow, frame: initialFrame, streams: maxWindow, headerList: maxWindow},

		sendWindow: initialWindow,
	}
	if cfg.Role == Server {
		c.nextOwn = 2
	}
	c.ctx, c.stop = context.WithCancelCause(context.WithoutCancel(ctx))
	c.toWrite.L, c.opening.L = &c.mu, &c.mu
	c.enc = hpack.NewEncoder(&c.encBuf)
	c.enc.SetMaxDynamicTableSizeLimit(maxTable)
	c.maxForeign = cfg.MaxStreams
	if n := cfg.Probation.MaxStreams; n > 0 {
		c.maxForeign = min(n, c.maxForeign)
	}
	window := cfg.ConnWindow
	if n := cfg.Probation.ConnWindow; n > 0 {
		window = min(max(n, initialWindow), window)
	}
	c.window.Store(int64(window))
	c.recvWindow.Store(int64(window))
	c.sections = newSectionDecoder(cfg.Headers)
	c.fr = http2.NewFramer(nil, c.br)
	c.fr.SetReuseFrames()
	c.fr.SetMaxReadFrameSize(cfg.MaxFrame)

	c.appendPreface()
	c.runs.Go(c.readLoop)
	c.runs.Go(c.writeLoop)
	c.runs.Go(c.keepAlive)
	return c
}

// Admit ends the probation: the ordinary limits apply from now on. Idempotent.
func (c *Conn) Admit() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.admitted {
		return
	}
	c.admitted = true
	c.maxForeign = c.cfg.MaxStreams
	more := int64(c.cfg.ConnWindow) - c.window.Load()
	if more <= 0 || c.err != nil {
		return
	}
	c.window.Add(more)
	c.recvWindow.Add(more)
	c.appendWindow(0, int(more))
	c.toWrite.Signal()
}

// Context ends with the connection; its cause is a *tunnel.ConnError.
func (c *Conn) Context() context.Context { return c.ctx }

// Close sends GOAWAY, ends the connection and all its streams, and waits for its goroutines. Idempotent.
func (c *Conn) Close(code http2.ErrCode, text string) {
	c.end(code, text, &tunnel.ConnError{Reason: tunnel.ReasonNone, Code: uint64(code), Err: errClosed})
	c.runs.Wait()
}

// end sends GOAWAY after what is buffered and ends the connection because of err. Only the first call of end or fail has an effect.
func (c *Conn) end(code http2.ErrCode, text string, err *tunnel.ConnError) {
	c.mu.Lock()
	if c.err != nil {
		c.mu.Unlock()
		return
	}
	c.appendGoAway(code, text)
	c.mu.Unlock()
	c.fail(err)
}

// fail ends the connection and all streams because of err. The writing goroutine then sends what is left and closes the
// socket.
func (c *Conn) fail(err *tunnel.ConnError) {
	c.mu.Lock()
	if c.err != nil {
		c.mu.Unlock()
		return
	}
	c.err = err
	_ = c.nc.SetWriteDeadline(time.Now().Add(closeTimeout)) // fails only on a dead connection
	streams := c.streams
	c.streams = nil
	c.toWrite.Signal()
	c.opening.Broadcast()
	for _, s := range c.turn {
		s.queued = false
		s.wcond.Broadcast()
	}
	c.turn = nil
	for _, s := range streams {
		if s.sendErr == nil {
			s.sendErr = err
		}
		s.writeBy.stopLocked()
		s.wcond.Broadcast()
	}
	c.mu.Unlock()
	c.stop(err)
	for _, s := range streams {
		s.lose(err)
	}
}

// lost ends the connection because reading or writing failed.
func (c *Conn) lost(err error) {
	if code := codeOf(err); code != http2.ErrCodeNo {
		c.end(code, err.Error(), &tunnel.ConnError{Reason: tunnel.ReasonInternal, Err: err})
		return
	}
	c.mu.Lock()
	if c.writeErr != nil && errors.Is(err, os.ErrDeadlineExceeded) {
		err = c.writeErr // the deadline is writeFailed's
	}
	loss := lossOf(err)
	ask := c.err == nil && !c.goneAway && c.cfg.Lost != nil
	if c.goneAway && loss.Reason == tunnel.ReasonPeerClosed && c.goneText != "" {
		loss = &tunnel.ConnError{Reason: loss.Reason, Err: errors.New("application close: " + c.goneText)}
	}
	c.mu.Unlock()
	if ask {
		loss = c.cfg.Lost(loss)
	}
	c.fail(loss)
}

// BusyBytes is how much may wait for a peer before it counts as slow rather than as silent.
const BusyBytes = 64 << 10

// heard notes that a frame came.
func (c *Conn) heard() {
	c.lastRead.Store(int64(time.Since(c.began)))
	c.writtenBefore.Store(c.written.Load())
}

// patience is how long the acknowledgement of a PING that is sent now may take.
func (c *Conn) patience() time.Duration {
	c.mu.Lock()
	waiting := int64(len(c.out))
	c.mu.Unlock()
	if waiting+c.written.Load()-c.writtenBefore.Load() > BusyBytes {
		return max(c.cfg.PingTimeout, c.cfg.BusyTimeout)
	}
	return c.cfg.PingTimeout
}

// keepAlive pings a silent peer. Any frame after the PING proves that the peer is alive.
func (c *Conn) keepAlive() {
	if c.cfg.PingAfter <= 0 {
		return
	}
	timer := time.NewTimer(c.cfg.PingAfter)
	defer timer.Stop()
	pinged := time.Duration(-1) // when the PING was sent that nothing has followed yet; negative without one
	for {
		select {
		case <-c.ctx.Done():
			return
		case <-timer.C:
		}
		now, heard := time.Since(c.began), time.Duration(c.lastRead.Load())
		switch silent := now - heard; {
		case pinged >= 0 && heard < pinged:
			c.fail(&tunnel.ConnError{Reason: tunnel.ReasonIdle, Err: errIdle})
			return
		case silent < c.cfg.PingAfter:
			pinged = -1
			timer.Reset(c.cfg.PingAfter - silent)
		default:
			pinged = now
			timer.Reset(c.patience())
			c.Ping()
		}
	}
}

// Ping sends a PING, unless the connection has ended.
func (c *Conn) Ping() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return false
	}
	c.pings.sent(time.Now())
	c.appendPing(false, [8]byte{'c', 'u', 'l', 'v', 'e', 'r', 't'})
	c.toWrite.Signal()
	return true
}

// RTT is the round trip that PINGs have measured, 0 before the first.
func (c *Conn) RTT() time.Duration { return time.Duration(c.rtt.Load()) }

// acknowledged handles the acknowledgement of a PING.
func (c *Conn) acknowledged() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if sample := c.pings.acknowledged(time.Now()); sample > 0 {
		c.rtt.Store(smooth(c.rtt.Load(), int64(sample)))
	}
}

// Open makes a stream, which the peer sees when its header is sent. It waits while the peer's limit of streams is reached.
func (c *Conn) Open(ctx context.Context) (*Stream, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err == nil && c.own >= c.peer.streams {
		unwatch := context.AfterFunc(ctx, func() {
			c.mu.Lock()
			defer c.mu.Unlock()
			c.opening.Broadcast()
		})
		defer unwatch()
		for c.err == nil && c.own >= c.peer.streams && ctx.Err() == nil {
			c.opening.Wait()
		}
	}
	switch {
	case c.err != nil:
		return nil, c.err
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case c.goneAway:
		return nil, &tunnel.ConnError{Reason: tunnel.ReasonPeerClosed, Err: errDraining}
	case c.nextOwn > maxWindow:
		return nil, &tunnel.ConnError{Reason: tunnel.ReasonInternal, Err: errExhausted}
	}
	c.own++
	return c.newStream(0), nil
}
