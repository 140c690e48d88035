package mux

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"net"
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

	// Of the reading goroutine.
	br     *bufio.Reader
	fr     *http2.Framer
	blocks blockPool

	// recvWindow is what the peer may still send, unacked what was read of it and not yet granted anew.
	recvWindow, unacked atomic.Int64
	// lastRead is when the last frame came, on the clock that started at began.
	lastRead atomic.Int64
	began    time.Time

	// mu guards the rest: everything about sending, and which streams there are.
	mu      sync.Mutex
	err     *tunnel.ConnError // why the connection is over
	streams map[uint32]*Stream
	// lastPeer is the peer's newest stream, nextOwn the next of ours.
	lastPeer, nextOwn, unsent uint32
	// foreign and own count streams; foreign ones count until they were cleared away at this end.
	foreign, own uint32
	peer         peerSettings
	goneAway     bool
	goneText     string

	out, spare []byte
	// control is how much of out answers questions and mistakes of the peer.
	control int
	// resets is how many streams of the peer it resets.
	resets     uint32
	toWrite    sync.Cond
	sendWindow int64
	// turn holds the streams that wait for the window or the buffer of the connection, opening those that wait for the
	// peer's limit of streams.
	turn    []*Stream
	opening sync.Cond
	enc     *hpack.Encoder
	encBuf  bytes.Buffer
}

// peerSettings are what the peer has told us.
type peerSettings struct {
	window, frame, streams, headerList uint32
}

// New starts HTTP/2 on an established connection, which it owns from now on. Values of ctx are kept, its end is not.
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
	c.recvWindow.Store(int64(cfg.ConnWindow))
	c.fr = http2.NewFramer(nil, c.br)
	c.fr.SetReuseFrames()
	c.fr.SetMaxReadFrameSize(cfg.MaxFrame)
	c.fr.MaxHeaderListSize = cfg.MaxHeaderList
	c.fr.ReadMetaHeaders = hpack.NewDecoder(4<<10, nil)

	c.appendPreface()
	c.runs.Go(c.readLoop)
	c.runs.Go(c.writeLoop)
	c.runs.Go(c.keepAlive)
	return c
}

// Context ends with the connection; its cause is a *tunnel.ConnError.
func (c *Conn) Context() context.Context { return c.ctx }

// Close says goodbye, ends the connection and all its streams, and waits for its goroutines. Idempotent.
func (c *Conn) Close(code http2.ErrCode, text string) {
	c.end(code, text, &tunnel.ConnError{Reason: tunnel.ReasonNone, Code: uint64(code), Err: errClosed})
	c.runs.Wait()
}

// end tells the peer, lets what is buffered go out for a moment, and closes the socket. Only the first call counts.
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

// fail ends everything because of err. The writing goroutine sends what is left and closes the socket.
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
	loss := lossOf(err)
	c.mu.Lock()
	if c.goneAway && loss.Reason == tunnel.ReasonPeerClosed && c.goneText != "" {
		loss = &tunnel.ConnError{Reason: loss.Reason, Err: errors.New("application close: " + c.goneText)}
	}
	c.mu.Unlock()
	c.fail(loss)
}

// keepAlive asks a silent peer whether it lives. Whatever comes after the question is an answer.
func (c *Conn) keepAlive() {
	if c.cfg.PingAfter <= 0 {
		return
	}
	timer := time.NewTimer(c.cfg.PingAfter)
	defer timer.Stop()
	asked := time.Duration(-1) // when the question was asked that has no answer yet, or negative
	for {
		select {
		case <-c.ctx.Done():
			return
		case <-timer.C:
		}
		now, heard := time.Since(c.began), time.Duration(c.lastRead.Load())
		switch silent := now - heard; {
		case asked >= 0 && heard < asked:
			c.fail(&tunnel.ConnError{Reason: tunnel.ReasonIdle, Err: errIdle})
			return
		case silent < c.cfg.PingAfter:
			asked = -1
			timer.Reset(c.cfg.PingAfter - silent)
		default:
			asked = now
			c.mu.Lock()
			c.appendPing(false, [8]byte{'c', 'u', 'l', 'v', 'e', 'r', 't'})
			c.toWrite.Signal()
			c.mu.Unlock()
			timer.Reset(c.cfg.PingTimeout)
		}
	}
}

// Open makes a stream of ours; the peer sees it with its head. It waits while the peer's limit is reached.
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
