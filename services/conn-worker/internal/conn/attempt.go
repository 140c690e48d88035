package conn

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/lease"
	"github.com/culvert-tunnel/culvert/pkg/link"
	"github.com/culvert-tunnel/culvert/pkg/logkey"
	"github.com/culvert-tunnel/culvert/pkg/protocol"
	"github.com/culvert-tunnel/culvert/pkg/transport"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
	"github.com/culvert-tunnel/culvert/pkg/wire/rpc"
)

// attempt is one attempt to connect, and its result. features, details, serving and unregistered belong to the holder's loop, or
// to the one task that it waits for.
type attempt struct {
	cancel       context.CancelFunc
	protocol     tunnel.Protocol
	edge         tunnel.EdgeAddr
	features     []string // announced with the registration
	details      rpc.ConnectionDetails
	serving      Serving
	unregistered chan struct{}

	// mu guards the fields below. Once ended is set nothing more is opened.
	mu      sync.Mutex
	ended   bool
	session transport.Session
	client  *rpc.RegistrationClient
}

// keep stores a new session, or closes it if the attempt was abandoned meanwhile.
func (a *attempt) keep(s transport.Session) {
	a.mu.Lock()
	ended := a.ended
	if !ended {
		a.session = s
	}
	a.mu.Unlock()
	if ended {
		_ = s.CloseWithError(transport.NoError, "") // nothing uses it yet
	}
}

// control starts the RPC connection on the control stream.
func (a *attempt) control(st transport.Stream) (*rpc.RegistrationClient, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.ended {
		return nil, context.Canceled
	}
	a.client = rpc.NewRegistrationClient(rpc.StreamConn(st))
	return a.client, nil
}

// end closes everything. The session is closed first, so that nothing waits for the peer.
func (a *attempt) end() {
	a.cancel()
	a.mu.Lock()
	ended, session, client := a.ended, a.session, a.client
	a.ended = true
	a.mu.Unlock()
	if ended {
		return
	}
	if session != nil {
		_ = session.CloseWithError(transport.NoError, "") // the session is over in any case
	}
	if client != nil {
		_ = client.Close() // likewise
	}
}

// do executes one action.
func (h *Holder) do(ctx context.Context, a lease.Action) {
	switch a := a.(type) {
	case lease.Dial:
		h.dial(ctx, a)
	case lease.Register:
		h.register(ctx, a)
	case lease.StartServing:
		h.serve(ctx)
	case lease.Wake:
		h.timer.Reset(a.After)
	case lease.Rotate:
		h.post(message{event: lease.Event{Kind: lease.EventRotated, Edge: h.cfg.Host.Rotate(h.slot, a.Avoid)}})
	case lease.Unregister:
		h.unregister(ctx)
	case lease.CloseAfterDrain:
		h.drain(ctx, a.Within)
	case lease.Close:
		h.close()
	case lease.ReportStatus:
		h.publish()
		h.cfg.Host.Changed()
	case lease.Announce:
		h.log.ErrorContext(ctx, "edge refuses the credentials of this tunnel, retrying slowly",
			slog.Any(logkey.Err, a.Err))
	}
}

func (h *Holder) dial(ctx context.Context, d lease.Dial) {
	ctx, cancel := context.WithCancel(ctx)
	h.protocol = h.cfg.Host.Protocol(h.slot, d.Protocol)
	a := &attempt{cancel: cancel, protocol: h.protocol, edge: d.Edge}
	h.attempt = a
	h.log.InfoContext(ctx, "connection is dialled", append(h.about(a.edge),
		slog.String(logkey.Curves, h.cfg.Told.Curves(a.protocol)))...)
	h.tasks.Go(func() {
		session, err := h.cfg.Host.Dial(ctx, h.slot, a.edge, a.protocol)
		if err != nil {
			failure := lease.DialFailure(err, h.cfg.Host.StoreDown())
			var fell func()
			if ctx.Err() == nil { // an abandoned dial says nothing about the address or the protocol
				fell = h.observe(a, protocol.EventOf(tunnel.ReasonOf(err)))
			}
			failure.SkipBackoff = fell != nil
			h.post(message{event: failure, attempt: a, after: fell})
			return
		}
		a.keep(session)
		h.post(message{event: lease.Event{Kind: lease.EventDialed}, attempt: a})
	})
}

func (h *Holder) observe(a *attempt, e protocol.Event) (tell func()) {
	return h.cfg.Host.Observe(h.slot, a.protocol, a.edge, e)
}

// register opens the control stream, which must be the session's first, and registers on it.
func (h *Holder) register(ctx context.Context, r lease.Register) {
	a := h.attempt
	h.log.DebugContext(ctx, "connection is registered with the edge", h.about(a.edge)...)
	h.tasks.Go(func() {
		details, err := h.call(ctx, a, r)
		if err != nil {
			// The cause of the session's end is more precise than the error of the call.
			if cause := context.Cause(a.session.Context()); cause != nil { //nolint:contextcheck // the session's own life is asked for
				err = cause
			}
			h.observe(a, protocol.Lost)
			h.post(message{event: lease.RegisterFailure(err, h.cfg.Host.StoreDown()), attempt: a})
			return
		}
		a.details = details
		if p, ok := a.session.(transport.Probation); ok {
			p.Admit()
		}
		h.observe(a, protocol.Connected)
		h.post(message{event: lease.Event{Kind: lease.EventRegistered, Location: details.Location}, attempt: a})
	})
}

func (h *Holder) call(ctx context.Context, a *attempt, r lease.Register) (rpc.ConnectionDetails, error) {
	ctx, cancel := context.WithTimeout(ctx, h.cfg.RPCTimeout)
	defer cancel()
	st, err := a.session.OpenStream(ctx)
	if err != nil {
		return rpc.ConnectionDetails{}, &tunnel.ConnError{Reason: tunnel.ReasonRPC, Err: err}
	}
	client, err := a.control(st)
	if err != nil {
		return rpc.ConnectionDetails{}, &tunnel.ConnError{Reason: tunnel.ReasonRPC, Err: err}
	}
	req := h.cfg.Host.Request(ctx, a.session, h.slot, r)
	a.features = req.Options.Features
	began := time.Now()
	details, err := client.Register(ctx, req)
	h.cfg.Host.Called(RegisterConnection, time.Since(began), err)
	return details, err
}

// serve accepts streams, watches the session, and uploads the local configuration if this is index 0 of a locally managed tunnel.
func (h *Holder) serve(ctx context.Context) {
	a := h.attempt
	a.serving = h.cfg.Serve(a.session, link.Meta{
		Kind: link.KindStream, Tunnel: h.slot.Tunnel, Connector: h.slot.Connector, Index: h.slot.Index,
	}, slices.Contains(a.features, protocol.FeatureDatagramV3))
	h.mu.Lock()
	h.serving = a.serving
	h.mu.Unlock()
	h.tasks.Go(func() {
		err := a.serving.Serve()
		h.observe(a, protocol.Lost)
		h.post(message{event: lease.Loss(err, h.cfg.Host.StoreDown()), attempt: a})
	})
	if h.slot.Index != 0 || a.details.RemotelyManaged || h.cfg.LocalConfig == nil {
		return
	}
	h.tasks.Go(func() {
		config := h.cfg.LocalConfig()
		if config == nil {
			return
		}
		ctx, cancel := context.WithTimeout(ctx, h.cfg.RPCTimeout)
		defer cancel()
		began := time.Now()
		err := a.client.UpdateLocalConfiguration(ctx, config)
		h.cfg.Host.Called(UpdateLocalConfiguration, time.Since(began), err)
		if err != nil {
			h.log.WarnContext(ctx, "local configuration not uploaded", slog.Any(logkey.Err, err))
		}
	})
}

// unregister withdraws the registration, so that the edge sends no more requests.
func (h *Holder) unregister(ctx context.Context) {
	a := h.attempt
	a.unregistered = make(chan struct{})
	about := h.about(a.edge)
	h.tasks.Go(func() {
		defer close(a.unregistered)
		ctx, cancel := context.WithTimeout(ctx, h.cfg.RPCTimeout)
		defer cancel()
		began := time.Now()
		err := a.client.Unregister(ctx)
		h.cfg.Host.Called(UnregisterConnection, time.Since(began), err)
		switch {
		case err == nil:
			h.log.InfoContext(ctx, "connection unregistered", about...)
		case a.session.Context().Err() == nil:
			h.log.WarnContext(ctx, "connection not unregistered", append(about, slog.Any(logkey.Err, err))...)
		}
	})
}

func (h *Holder) drain(ctx context.Context, within time.Duration) {
	a := h.attempt
	h.tasks.Go(func() {
		ctx, cancel := context.WithTimeout(ctx, within)
		defer cancel()
		<-a.unregistered // bounded by RPCTimeout
		a.serving.Drained(ctx)
		if left := a.serving.InFlight(); left > 0 {
			h.log.WarnContext(ctx, "drain is over, requests are cut", slog.Int(logkey.InFlight, left))
		}
		h.post(message{event: lease.Event{Kind: lease.EventDrained}, attempt: a})
	})
}

// close abandons the attempt. Closing waits for the transport, so it runs in a task of its own.
func (h *Holder) close() {
	a := h.attempt
	h.attempt = nil
	h.mu.Lock()
	h.serving = nil
	h.mu.Unlock()
	if a != nil {
		a.cancel()
		h.tasks.Go(a.end)
	}
}
