package push

import (
	"context"
	"errors"
	"log/slog"
	mathrand "math/rand/v2"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"github.com/culvert-tunnel/culvert/pkg/backoff"
	"github.com/culvert-tunnel/culvert/pkg/logkey"
	"github.com/culvert-tunnel/culvert/pkg/protocol"
	"github.com/culvert-tunnel/culvert/pkg/remoteconfig"
	"github.com/culvert-tunnel/culvert/pkg/transport"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
	"github.com/culvert-tunnel/culvert/pkg/wire/rpc"
	"github.com/culvert-tunnel/culvert/pkg/wire/stream"
	"github.com/culvert-tunnel/culvert/services/edge/internal/catalog/document"
	"github.com/culvert-tunnel/culvert/services/edge/internal/registry"
)

// timeout bounds one push; connectors serve an RPC for 5 s.
const timeout = 10 * time.Second

// result is the result of a push, and the value of the metric's label.
type result string

const (
	applied  result = "applied"
	rejected result = "rejected" // the connector refused the document
	failed   result = "failed"   // there was no response; the push is tried again
)

// configurations has the current configuration of each tunnel.
type configurations interface {
	// Configuration returns nil for a tunnel without one. The channel is closed when the configuration changes.
	Configuration(id tunnel.ID) (*document.Configuration, <-chan struct{})
}

// Pusher pushes configurations to connectors.
type Pusher struct {
	configurations configurations
	// pushes counts pushed configurations, by result.
	pushes *prometheus.CounterVec
}

// New makes a pusher.
func New(c configurations, reg prometheus.Registerer) *Pusher {
	return &Pusher{configurations: c, pushes: promauto.With(reg).NewCounterVec(prometheus.CounterOpts{
		Namespace: "culvert", Subsystem: "edge", Name: "configuration_pushes_total",
		Help: "Configurations that were pushed to connectors, by result.",
	}, []string{"result"})}
}

// applier pushes an update to a connector; see package remoteconfig. A session over HTTP/2 implements it (docs/spec/wire.md 9.5),
// for QUIC an RPC client does.
type applier interface {
	Apply(ctx context.Context, u remoteconfig.Update) (applied int32, err error)
}

// Serve pushes the tunnel's configuration to the connector of a connection: the current one at once, and each new one
// (docs/spec/wire.md 8.6), until ctx ends or the connection retires. A push without a response is tried again after a while, a
// rejected one is not.
func (p *Pusher) Serve(ctx context.Context, conn *registry.Conn, log *slog.Logger) {
	if !slices.Contains(conn.Features, protocol.FeatureRemoteConfig) {
		return
	}
	policy := backoff.Policy{Base: time.Second, Retries: backoff.DefaultRetries}
	retry := time.NewTimer(time.Hour)
	defer retry.Stop()
	for failures, done := 0, int32(-1); ; {
		config, changed := p.configurations.Configuration(conn.Slot.Tunnel)
		retry.Stop()
		if config != nil && config.Version > done {
			if p.push(ctx, conn, config, log) == failed {
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
func (p *Pusher) push(ctx context.Context, conn *registry.Conn, config *document.Configuration, log *slog.Logger) result {
	bounded, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	version, err := send(bounded, conn.Session, remoteconfig.Update{Version: config.Version, Document: config.Document})
	if ctx.Err() != nil {
		return failed // the session is over
	}
	outcome := applied
	state := registry.Push{Version: config.Version, Applied: version, At: time.Now()}
	var refusal *remoteconfig.RejectedError
	switch {
	case errors.As(err, &refusal):
		outcome, state.Error = rejected, refusal.Reason
	case err != nil:
		outcome, state.Error = failed, err.Error()
		state.Applied = conn.Pushed().Applied
	}
	conn.SetPushed(state)
	p.pushes.WithLabelValues(string(outcome)).Inc()
	attrs := []any{
		slog.String(logkey.TunnelID, conn.Slot.Tunnel.String()), slog.String(logkey.ConnectorID, conn.Slot.Connector.String()),
		slog.Int(logkey.ConnIndex, int(conn.Slot.Index)), slog.Int(logkey.Version, int(config.Version)), slog.Int(logkey.Applied,
			int(state.Applied)),
	}
	if outcome == applied {
		log.InfoContext(ctx, "configuration pushed", attrs...)
	} else {
		attrs = append(attrs, slog.String(logkey.Result, string(outcome)), slog.Any(logkey.Err, err))
		log.WarnContext(ctx, "configuration not applied", attrs...)
	}
	return outcome
}

// send makes one push over the session's transport.
func send(ctx context.Context, sess transport.Session, u remoteconfig.Update) (int32, error) {
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
