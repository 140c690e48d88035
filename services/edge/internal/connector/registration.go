package connector

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/logkey"
	"github.com/culvert-tunnel/culvert/pkg/protocol"
	"github.com/culvert-tunnel/culvert/pkg/transport"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
	"github.com/culvert-tunnel/culvert/pkg/wire/rpc"
	"github.com/culvert-tunnel/culvert/services/edge/internal/registry"
)

const (
	// causeUnauthorized is the text of a refusal; stock connectors look for its first word (docs/spec/wire.md 8.2).
	causeUnauthorized = "Unauthorized: Invalid tunnel secret or unknown tunnel"
	// fencedRetry is how long a connector with an old epoch is told to wait; a newer one that died is gone by then.
	fencedRetry = 5 * time.Second
	// maxAttempts bounds the guesses on one session.
	maxAttempts = 3
	// maxLocalConfig bounds the configuration that is kept for display.
	maxLocalConfig = 1 << 20
	maxFeatures    = 64
	maxText        = 128
)

// registration is the edge's end of one session's control stream.
type registration struct {
	server   *Server
	sess     transport.Session
	protocol tunnel.Protocol
	log      *slog.Logger
	// done is closed when a registration was accepted.
	done chan struct{}

	// mu protects the fields below.
	mu       sync.Mutex
	attempts int
	conn     *registry.Conn
}

var _ rpc.RegistrationHandler = (*registration)(nil)

// serveStreams takes the control stream, serves it, and the few others that a connector may open.
func (r *registration) serveStreams(ctx context.Context, cancel context.CancelCauseFunc) {
	control, err := r.sess.AcceptStream(ctx)
	if err != nil {
		return // the session ended, and whoever waits for a registration sees that
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		err := rpc.ServeRegistration(ctx, rpc.StreamConn(control), r)
		if r.registered() == nil {
			// Without a registration nothing keeps the session; a stock connector that failed closes it, too.
			if ctx.Err() == nil && r.setAsked() {
				r.server.count(resultMalformed)
				r.log.DebugContext(ctx, "control stream ended without a registration", slog.Any(logkey.Err, err))
			}
			cancel(errors.New("control stream ended without a registration"))
			return
		}
		r.log.DebugContext(ctx, "control stream ended", slog.Any(logkey.Err, err))
	})
	r.moreStreams(ctx)
	wg.Wait()
}

func (r *registration) registered() *registry.Conn {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.conn
}

// asked reports whether a registration was attempted at all.
func (r *registration) asked() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.attempts > 0
}

// setAsked counts the control stream itself as an attempt; it reports whether it is the first one.
func (r *registration) setAsked() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.attempts++
	return r.attempts == 1
}

// Register decides about one registration.
func (r *registration) Register(ctx context.Context, req rpc.RegisterRequest) (rpc.ConnectionDetails, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.conn != nil {
		return rpc.ConnectionDetails{}, refuse("this session is registered already")
	}
	if r.attempts++; r.attempts > maxAttempts {
		return rpc.ConnectionDetails{}, refuse("too many attempts on one session")
	}
	log := r.log.With(slog.String(logkey.TunnelID, req.TunnelID.String()), slog.String(logkey.ConnectorID, req.Options.ConnectorID.String()),
		slog.Int(logkey.ConnIndex, int(req.Index)))
	conn, result, err := r.decide(req)
	r.server.count(result)
	if err != nil {
		log.WarnContext(ctx, "registration refused", slog.String(logkey.Result, result),
			slog.Bool(logkey.TunnelKnown, r.server.deps.Tunnels.Name(req.TunnelID) != ""))
		return rpc.ConnectionDetails{}, err
	}
	r.conn = conn
	close(r.done)
	log.InfoContext(ctx, "connection registered", slog.String(logkey.ConnectionID, hex.EncodeToString(conn.ID[:])),
		slog.Uint64(logkey.Epoch, uint64(conn.Epoch)), slog.String(logkey.Version, conn.Version), slog.String(logkey.Arch, conn.Arch))
	config, _ := r.server.deps.Tunnels.Configuration(req.TunnelID)
	return rpc.ConnectionDetails{UUID: conn.ID, Location: r.server.cfg.Location, RemotelyManaged: config != nil}, nil
}

func (r *registration) decide(req rpc.RegisterRequest) (*registry.Conn, string, error) {
	deps := r.server.deps
	creds := req.Auth
	creds.TunnelID = req.TunnelID
	if _, ok := deps.Tunnels.Authenticate(creds); !ok {
		return nil, resultUnauthorized, refuse(causeUnauthorized)
	}
	if req.Options.ConnectorID.IsZero() || len(req.Options.Features) > maxFeatures {
		return nil, resultMalformed, refuse("malformed connection options")
	}
	conn := registry.NewConn(r.info(req), r.sess)
	switch err := deps.Table.Register(conn); {
	case errors.Is(err, registry.ErrDuplicate):
		return nil, resultDuplicate, &tunnel.ConnError{Reason: tunnel.ReasonDuplicate, Err: err}
	case errors.Is(err, tunnel.ErrFenced):
		return nil, resultFenced, &tunnel.ConnError{Reason: tunnel.ReasonRefused, Retryable: true, RetryAfter: fencedRetry, Err: err}
	case err != nil:
		return nil, resultMalformed, fmt.Errorf("registration: %w", err)
	}
	if _, ok := deps.Tunnels.Authenticate(creds); !ok { // the tunnel was deleted in between
		deps.Table.Remove(conn)
		return nil, resultUnauthorized, refuse(causeUnauthorized)
	}
	return conn, resultAccepted, nil
}

func (r *registration) info(req rpc.RegisterRequest) registry.Info {
	o := req.Options
	info := registry.Info{
		Slot:     tunnel.Slot{Tunnel: req.TunnelID, Connector: o.ConnectorID, Index: req.Index},
		Epoch:    epochOf(o.Features),
		Protocol: r.protocol,
		Version:  printable(o.Version),
		Arch:     printable(o.Arch),
		Local:    r.sess.LocalAddr(),
		Remote:   r.sess.RemoteAddr(),
		Since:    time.Now(),
	}
	for _, f := range o.Features {
		info.Features = append(info.Features, printable(f))
	}
	_, _ = rand.Read(info.ID[:]) // crypto/rand ends the process rather than fail
	info.ID[6], info.ID[8] = info.ID[6]&0x0f|0x40, info.ID[8]&0x3f|0x80
	return info
}

// Unregister stops new requests; the running ones and the session go on (docs/spec/wire.md 8.4).
func (r *registration) Unregister(context.Context) error {
	conn := r.registered()
	if conn == nil {
		return errors.New("this session is not registered")
	}
	r.server.deps.Table.Retire(conn, registry.Unregistered)
	return nil
}

// UpdateLocalConfiguration keeps what connection index 0 uploads, for display only.
func (r *registration) UpdateLocalConfiguration(_ context.Context, doc []byte) error {
	conn := r.registered()
	switch {
	case conn == nil:
		return errors.New("this session is not registered")
	case conn.Slot.Index != 0:
		return errors.New("only connection index 0 uploads a configuration")
	case len(doc) > maxLocalConfig:
		return fmt.Errorf("configuration is larger than %d bytes", maxLocalConfig)
	case !json.Valid(doc):
		return errors.New("configuration is not JSON")
	}
	conn.SetLocalConfig(append(json.RawMessage(nil), doc...))
	return nil
}

func refuse(cause string) error {
	return &tunnel.ConnError{Reason: tunnel.ReasonRefused, Err: errors.New(cause)}
}

// epochOf reads the epoch feature; without one, or with one that is no number, the epoch is 0.
func epochOf(features []string) tunnel.Epoch {
	for _, f := range features {
		if text, ok := strings.CutPrefix(f, protocol.FeatureEpoch); ok {
			if n, err := strconv.ParseUint(text, 10, 64); err == nil {
				return tunnel.Epoch(n)
			}
		}
	}
	return 0
}

// printable makes a peer's text fit for logs and tables.
func printable(s string) string {
	if len(s) > maxText {
		s = s[:maxText]
	}
	return strings.ToValidUTF8(strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return -1
		}
		return r
	}, s), "")
}
