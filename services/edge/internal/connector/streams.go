package connector

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"sync"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/control/admit"
	"github.com/culvert-tunnel/culvert/pkg/logkey"
	"github.com/culvert-tunnel/culvert/pkg/transport"
	"github.com/culvert-tunnel/culvert/pkg/wire/datagram"
	"github.com/culvert-tunnel/culvert/pkg/wire/rpc"
	"github.com/culvert-tunnel/culvert/pkg/wire/stream"
	"github.com/culvert-tunnel/culvert/services/edge/internal/registry"
)

const (
	// streamTimeout bounds the service of one stream of a connector, which carries one call.
	streamTimeout = 5 * time.Second
	// maxStreams bounds the streams of one connector that are served at a time; more are refused.
	maxStreams = 16
	// maxEarlyStreams is how many streams, beside the control stream, a peer may open before it registers. No connector opens
	// any; a peer with more loses its session.
	maxEarlyStreams = 8
)

var (
	errNoRegistration = errors.New("control stream ended without a registration")
	errEarlyStreams   = errors.New("too many streams before the registration")
)

// Datagrams is the part of the edge that uses the datagrams of connections.
type Datagrams interface {
	// Serve is called for each registered connection, and returns when ctx or the connection ends.
	Serve(ctx context.Context, conn *registry.Conn)
	// Ended reports that the connector ended a UDP session of datagram v2.
	Ended(conn *registry.Conn, id datagram.ID, text string)
}

// serveStreams accepts the control stream, serves it, and then the few others that a connector may open.
func (c *session) serveStreams(ctx context.Context, cancel context.CancelCauseFunc) {
	control, err := c.sess.AcceptStream(ctx)
	if err != nil {
		return // the session ended; awaitRegistration sees that as well
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		err := rpc.ServeRegistration(ctx, rpc.StreamConn(control), c)
		if c.connection() == nil {
			// The session is of no use without a registration; a stock connector that fails to register closes it, too.
			if ctx.Err() == nil && c.countAttempt() == 1 {
				c.server.count(admit.Malformed)
			}
			cancel(errNoRegistration)
		}
		c.log.DebugContext(ctx, "control stream ended", slog.Any(logkey.Err, err))
	})
	c.serveMoreStreams(ctx, cancel)
	wg.Wait()
}

// countAttempt counts one attempt to register and returns the new number.
func (c *session) countAttempt() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.attempts++
	return c.attempts
}

// serveMoreStreams accepts the streams after the control stream: those that report the end of a UDP session
// (docs/spec/wire.md 5.1). It refuses all others.
func (c *session) serveMoreStreams(ctx context.Context, cancel context.CancelCauseFunc) {
	var serving sync.WaitGroup
	defer serving.Wait()
	places := make(chan struct{}, maxStreams)
	for {
		st, err := c.sess.AcceptStream(ctx)
		if err != nil {
			return
		}
		conn := c.connection()
		if conn == nil {
			c.refuseStream(st)
			if c.earlyStreams++; c.earlyStreams > maxEarlyStreams {
				cancel(errEarlyStreams)
				return
			}
			continue
		}
		select {
		case places <- struct{}{}:
			serving.Go(func() {
				defer func() { <-places }()
				c.serveStream(ctx, conn, st)
			})
		default:
			c.refuseStream(st)
		}
	}
}

func (c *session) refuseStream(st transport.Stream) {
	c.server.metrics.refusedStreams.Inc()
	st.CancelRead(transport.NoError)
	st.CancelWrite(transport.NoError)
}

func (c *session) serveStream(ctx context.Context, conn *registry.Conn, st transport.Stream) {
	if st.SetReadDeadline(time.Now().Add(streamTimeout)) != nil {
		c.refuseStream(st)
		return
	}
	head := make([]byte, stream.SignatureSize)
	if _, err := io.ReadFull(st, head); err != nil {
		c.refuseStream(st)
		return
	}
	if kind, err := stream.Detect(head); err != nil || kind != stream.KindRPC {
		c.refuseStream(st)
		return
	}
	ctx, cancel := context.WithTimeout(ctx, streamTimeout)
	defer cancel()
	err := rpc.ServeSessionEnds(ctx, rpc.StreamConn(st), func(_ context.Context, id [16]byte, message string) error {
		c.server.deps.Datagrams.Ended(conn, id, admit.Text(message))
		return nil
	})
	if err != nil && ctx.Err() == nil {
		c.log.DebugContext(ctx, "session stream ended", slog.Any(logkey.Err, err))
	}
}
