package conn

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/control/hold"
	"github.com/culvert-tunnel/culvert/pkg/lease"
	"github.com/culvert-tunnel/culvert/pkg/link"
	"github.com/culvert-tunnel/culvert/pkg/logkey"
	"github.com/culvert-tunnel/culvert/pkg/protocol"
	"github.com/culvert-tunnel/culvert/pkg/transport"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
	"github.com/culvert-tunnel/culvert/pkg/wire/rpc"
)

// attempt is what one attempt to connect has opened. features, details, serving and unregistered belong to the holder's loop, or
// to the one task that it waits for.
type attempt struct {
	hold.Attempt
	slot tunnel.Slot // as it was named when the attempt began
	// using is the protocol of the session, which may be that of the second dial.
	using tunnel.Protocol

	cancel       context.CancelFunc
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
func (h *Holder) do(ctx context.Context, a hold.Action) {
	switch a := a.(type) {
	case hold.Note:
		h.tell(ctx, a)
	case hold.Dial:
		h.dial(ctx, a)
	case hold.Register:
		h.register(ctx, h.attempts[a.Attempt], a.Register)
	case hold.Serve:
		h.serve(h.attempts[a.Attempt])
	case hold.Upload:
		h.upload(ctx, h.attempts[a.Attempt])
	case hold.Unregister:
		h.unregister(ctx, h.attempts[a.Attempt])
	case hold.Drain:
		h.drain(ctx, h.attempts[a.Attempt], a.Within)
	case hold.Close:
		h.close(a.Attempt)
	case hold.Wake:
		h.timer.Reset(a.After)
	case hold.Report:
		h.publish()
		h.cfg.Host.Changed()
	case hold.Announce:
		h.log.ErrorContext(ctx, "edge refuses the credentials of this tunnel, retrying slowly",
			slog.Any(logkey.Err, a.Err))
	}
}

func (h *Holder) dial(ctx context.Context, d hold.Dial) {
	number := d.Attempt
	ctx, cancel := context.WithCancel(ctx)
	a := &attempt{Attempt: number, slot: h.machine.Slot(), using: number.Protocol, cancel: cancel}
	h.attempts[number] = a
	h.log.InfoContext(ctx, "connection is dialled", append(about(a.Edge, a.Protocol),
		slog.String(logkey.Curves, h.cfg.Told.Curves(a.Protocol)))...)
	h.tasks.Go(func() {
		over := func(p tunnel.Protocol) opener {
			return func(ctx context.Context) (transport.Session, error) { return h.cfg.Host.Dial(ctx, a.slot, a.Edge, p) }
		}
		result := hold.Dialed{Attempt: number}
		var session transport.Session
		if d.Beside == "" {
			session, result.Err = over(a.Protocol)(ctx)
		} else {
			var second bool
			held := func() bool { return h.cfg.Host.Protocol(a.slot, d.Demanded).Held }
			session, second, result.Err = race(ctx, delay{d.After, held}, over(a.Protocol), over(d.Beside))
			if second {
				result.Beside, a.using = d.Beside, d.Beside
			}
		}
		if result.Err == nil {
			a.keep(session)
		}
		h.post(result)
	})
}

// register opens the control stream, which must be the session's first, and registers on it.
func (h *Holder) register(ctx context.Context, a *attempt, r lease.Register) {
	h.log.DebugContext(ctx, "connection is registered with the edge", about(a.Edge, a.using)...)
	h.tasks.Go(func() {
		details, err := h.call(ctx, a, r)
		if err != nil {
			// The cause of the session's end is more precise than the error of the call.
			if cause := context.Cause(a.session.Context()); cause != nil { //nolint:contextcheck // the session's own life is asked for
				err = cause
			}
			h.post(hold.Registered{Attempt: a.Attempt, Err: err})
			return
		}
		a.details = details
		if p, ok := a.session.(transport.Probation); ok {
			p.Admit()
		}
		h.post(hold.Registered{Attempt: a.Attempt, Location: details.Location, RemotelyManaged: details.RemotelyManaged})
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
	req := h.cfg.Host.Request(ctx, a.session, a.slot, r)
	a.features = req.Options.Features
	began := time.Now()
	details, err := client.Register(ctx, req)
	h.cfg.Host.Called(RegisterConnection, time.Since(began), err)
	return details, err
}

// serve accepts streams and watches the session.
func (h *Holder) serve(a *attempt) {
	a.serving = h.cfg.Serve(a.session, link.Meta{
		Kind: link.KindStream, Tunnel: a.slot.Tunnel, Connector: a.slot.Connector, Index: a.slot.Index,
	}, slices.Contains(a.features, protocol.FeatureDatagramV3))
	h.mu.Lock()
	h.serving = a.serving
	h.mu.Unlock()
	h.tasks.Go(func() {
		err := a.serving.Serve()
		h.post(hold.Ended{Attempt: a.Attempt, Err: err})
	})
}

// upload sends the local configuration to the edge, if there is one.
func (h *Holder) upload(ctx context.Context, a *attempt) {
	if h.cfg.LocalConfig == nil {
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
func (h *Holder) unregister(ctx context.Context, a *attempt) {
	a.unregistered = make(chan struct{})
	about := about(a.Edge, a.using)
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

func (h *Holder) drain(ctx context.Context, a *attempt, within time.Duration) {
	h.tasks.Go(func() {
		ctx, cancel := context.WithTimeout(ctx, within)
		defer cancel()
		<-a.unregistered // bounded by RPCTimeout
		a.serving.Drained(ctx)
		if left := a.serving.InFlight(); left > 0 {
			h.log.WarnContext(ctx, "drain is over, requests are cut", slog.Int(logkey.InFlight, left))
		}
		h.post(hold.Drained{Attempt: a.Attempt})
	})
}

// close ends the attempt. Closing waits for the transport, so it runs in a task of its own. An attempt that is not known any more was
// closed before: what it opens late, it closes itself.
func (h *Holder) close(number hold.Attempt) {
	a, known := h.attempts[number]
	if !known {
		return
	}
	delete(h.attempts, number)
	h.mu.Lock()
	h.serving = nil
	h.mu.Unlock()
	a.cancel()
	h.tasks.Go(a.end)
}
