package connector

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/logkey"
	"github.com/culvert-tunnel/culvert/pkg/transport"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
	"github.com/culvert-tunnel/culvert/services/edge/internal/registry"
)

// session is one session of a connector.
type session struct {
	server   *Server
	sess     transport.Session
	protocol tunnel.Protocol
	log      *slog.Logger
	// leavePending gives back the place of a session that is not registered. Idempotent.
	leavePending func()
	// registered is closed when a registration was accepted.
	registered chan struct{}

	// mu protects the fields below.
	mu       sync.Mutex
	attempts int
	conn     *registry.Conn
	// creds are the credentials of the accepted registration.
	creds tunnel.Credentials
	// configBytes is the size of the last configuration that was uploaded.
	configBytes int64
	// earlyStreams counts the streams that the peer opened before it registered, beside the control stream.
	earlyStreams int
}

func newSession(s *Server, sess transport.Session, p tunnel.Protocol, leavePending func()) *session {
	log := s.deps.Logger.With(slog.String(logkey.EdgeAddr, sess.LocalAddr().String()),
		slog.String(logkey.RemoteAddr, sess.RemoteAddr().String()), slog.String(logkey.Protocol, string(p)))
	return &session{server: s, sess: sess, protocol: p, log: log, leavePending: leavePending, registered: make(chan struct{})}
}

// serve runs the session until it ends or cancel is called, and closes it.
func (c *session) serve(ctx context.Context, cancel context.CancelCauseFunc) {
	//nolint:contextcheck // ctx ends with the session's own context
	unlink := context.AfterFunc(c.sess.Context(), func() { cancel(context.Cause(c.sess.Context())) })
	defer unlink()
	var tasks sync.WaitGroup
	tasks.Go(func() { c.serveStreams(ctx, cancel) })
	conn := c.awaitRegistration(ctx)
	if conn != nil {
		tasks.Go(func() { c.server.pusher.Serve(ctx, conn, c.log) })
		tasks.Go(func() { c.server.deps.Datagrams.Serve(ctx, conn) })
		c.hold(ctx, conn)
		c.server.table.Remove(conn)
	}
	cancel(errors.New("session closed"))
	_ = c.sess.CloseWithError(transport.NoError, "") // it may be closed already
	tasks.Wait()
	// A registration may have been accepted after awaitRegistration gave up.
	if late := c.connection(); late != nil {
		c.server.table.Remove(late)
		c.giveBack(late.Slot.Tunnel)
	}
	if conn != nil {
		c.logEnd(ctx, conn)
	}
}

// giveBack returns the tunnel's share of sessions and of uploaded configuration.
func (c *session) giveBack(id tunnel.ID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.server.registered.Give(id, 1)
	c.server.localConfig.Give(id, c.configBytes)
	c.configBytes = 0
}

// connection is the registered connection, or nil.
func (c *session) connection() *registry.Conn {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.conn
}

// awaitRegistration returns nil when the session ends without a registration, or has none in time.
func (c *session) awaitRegistration(ctx context.Context) *registry.Conn {
	limit := time.NewTimer(c.server.cfg.RegisterTimeout)
	defer limit.Stop()
	select {
	case <-c.registered:
		return c.connection()
	case <-ctx.Done():
		evicted := errors.Is(context.Cause(ctx), errEvicted)
		switch {
		case evicted:
			c.server.count(resultEvicted)
		case !c.attempted():
			c.server.count(resultProbe)
		}
		c.log.DebugContext(ctx, "session ended without a registration", slog.Any(logkey.Err, context.Cause(ctx)))
	case <-limit.C:
		if !c.attempted() {
			c.server.count(resultTimeout)
		}
		c.log.InfoContext(ctx, "session dropped: no registration in time")
	}
	return nil
}

// attempted reports whether the peer tried to register.
func (c *session) attempted() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.attempts > 0
}

// hold waits until a registered session has ended or drained.
func (c *session) hold(ctx context.Context, conn *registry.Conn) {
	if !c.awaitRetirement(ctx, conn) {
		return
	}
	state := c.server.table.StateOf(conn)
	c.log.InfoContext(ctx, "connection takes no new requests", slog.String(logkey.State, string(state)),
		slog.Int64(logkey.InFlight, conn.InFlight()))
	wait := c.server.cfg.ReplaceTimeout
	if state == registry.Unregistered {
		wait = c.server.cfg.DrainTimeout // the connector ends the session itself (docs/spec/wire.md 8.4)
	}
	limit := time.NewTimer(wait)
	defer limit.Stop()
	for state == registry.Unregistered || conn.InFlight() > 0 {
		select {
		case <-ctx.Done():
			return
		case <-limit.C:
			return
		case <-conn.Drained():
		}
	}
}

// awaitRetirement waits until the connection retires, and reports false when ctx ended first. It retires the connection itself
// when the credentials of its registration are no longer valid: the tunnel was deleted, or its secret rotated.
func (c *session) awaitRetirement(ctx context.Context, conn *registry.Conn) bool {
	expiry := time.NewTimer(time.Hour)
	defer expiry.Stop()
	for {
		validity := c.server.deps.Tunnels.Validity(c.creds, time.Now())
		expiry.Stop()
		if !validity.Valid {
			c.server.table.Retire(conn, registry.Evicted)
			return true
		}
		if !validity.Until.IsZero() {
			expiry.Reset(time.Until(validity.Until))
		}
		select {
		case <-ctx.Done():
			return false
		case <-conn.Retired():
			return true
		case <-validity.Changed:
		case <-expiry.C:
		}
	}
}

func (c *session) logEnd(ctx context.Context, conn *registry.Conn) {
	cause := context.Cause(c.sess.Context()) //nolint:contextcheck // the session's context has the reason of its end
	reason := "closed"
	if r := tunnel.ReasonOf(cause); r != tunnel.ReasonNone {
		reason = string(r)
	}
	c.server.metrics.ended.WithLabelValues(reason).Inc()
	c.log.InfoContext(ctx, "connection ended", slog.String(logkey.TunnelID, conn.Slot.Tunnel.String()),
		slog.String(logkey.ConnectorID, conn.Slot.Connector.String()), slog.Int(logkey.ConnIndex, int(conn.Slot.Index)), slog.Any(logkey.Err,
			cause))
}
