package connector

import (
	"context"
	"errors"
	"log/slog"
	mathrand "math/rand/v2"
	"slices"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/backoff"
	"github.com/culvert-tunnel/culvert/pkg/logkey"
	"github.com/culvert-tunnel/culvert/pkg/protocol"
	"github.com/culvert-tunnel/culvert/pkg/remoteconfig"
	"github.com/culvert-tunnel/culvert/pkg/transport"
	"github.com/culvert-tunnel/culvert/pkg/wire/rpc"
	"github.com/culvert-tunnel/culvert/pkg/wire/stream"
	"github.com/culvert-tunnel/culvert/services/edge/internal/catalog"
	"github.com/culvert-tunnel/culvert/services/edge/internal/registry"
)

// pushTimeout bounds one push; connectors serve an RPC for 5 s.
const pushTimeout = 10 * time.Second

// The results of a push.
const (
	pushApplied  = "applied"
	pushRejected = "rejected" // the connector refused the document
	pushFailed   = "failed"   // there was no response; the push is tried again
)

// applier pushes an update to a connector; see package remoteconfig. A session over HTTP/2 implements it (docs/spec/wire.md 9.5),
// for QUIC an RPC client does.
type applier interface {
	Apply(ctx context.Context, u remoteconfig.Update) (applied int32, err error)
}

// configure pushes the tunnel's configuration to the connector of a connection: the current one at once, and each new one
// (docs/spec/wire.md 8.6), until ctx ends or the connection retires. A push without a response is tried again after a while, a
// rejected one is not.
func (s *Server) configure(ctx context.Context, conn *registry.Conn, log *slog.Logger) {
	if !slices.Contains(conn.Features, protocol.FeatureRemoteConfig) {
		return
	}
	policy := backoff.Policy{Base: time.Second, Retries: backoff.DefaultRetries}
	retry := time.NewTimer(time.Hour)
	defer retry.Stop()
	for failures, done := 0, int32(-1); ; {
		config, changed := s.deps.Tunnels.Configuration(conn.Slot.Tunnel)
		retry.Stop()
		if config != nil && config.Version > done {
			if s.push(ctx, conn, config, log) == pushFailed {
				failures++
				retry.Reset(policy.Wait(failures, mathrand.Int64N))
			} else {
				failures, done = 0, config.Version
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-conn.Retired():
			return
		case <-changed:
		case <-retry.C:
		}
	}
}

// push sends one configuration to the connector and records the result.
func (s *Server) push(ctx context.Context, conn *registry.Conn, config *catalog.Configuration, log *slog.Logger) string {
	bounded, cancel := context.WithTimeout(ctx, pushTimeout)
	defer cancel()
	applied, err := pushTo(bounded, conn.Session, remoteconfig.Update{Version: config.Version, Document: config.Document})
	if ctx.Err() != nil {
		return pushFailed // the session is over
	}
	result := pushApplied
	state := registry.Push{Version: config.Version, Applied: applied, At: time.Now()}
	var rejected *remoteconfig.RejectedError
	switch {
	case errors.As(err, &rejected):
		result, state.Error = pushRejected, rejected.Reason
	case err != nil:
		result, state.Error = pushFailed, err.Error()
		state.Applied = conn.Pushed().Applied
	}
	conn.SetPushed(state)
	s.metrics.pushes.WithLabelValues(result).Inc()
	attrs := []any{
		slog.String(logkey.TunnelID, conn.Slot.Tunnel.String()), slog.String(logkey.ConnectorID, conn.Slot.Connector.String()),
		slog.Int(logkey.ConnIndex, int(conn.Slot.Index)), slog.Int(logkey.Version, int(config.Version)), slog.Int(logkey.Applied, int(state.Applied)),
	}
	switch result {
	case pushApplied:
		log.InfoContext(ctx, "configuration pushed", attrs...)
	default:
		log.WarnContext(ctx, "configuration not applied", append(attrs, slog.String(logkey.Result, result), slog.Any(logkey.Err, err))...)
	}
	return result
}

// pushTo makes one push over the session's transport.
func pushTo(ctx context.Context, sess transport.Session, u remoteconfig.Update) (int32, error) {
	if a, ok := sess.(applier); ok {
		return a.Apply(ctx, u)
	}
	st, err := sess.OpenStream(ctx)
	if err != nil {
		return 0, err
	}
	if _, err := st.Write([]byte(stream.RPCSignature)); err != nil {
		st.CancelRead(transport.NoError)
		st.CancelWrite(transport.NoError)
		return 0, err
	}
	client := rpc.NewConnectorClient(rpc.StreamConn(st))
	defer func() { _ = client.Close() }() // the call is over
	return client.Apply(ctx, u)
}
