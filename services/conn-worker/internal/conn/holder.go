package conn

import (
	"context"
	"errors"
	"log/slog"
	"net"
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

// Transports chooses the transport of each attempt, and makes sessions.
type Transports interface {
	// Protocol is the transport for the next attempt, and the one beside it; demanded is the one that the grant requires, or empty.
	Protocol(slot tunnel.Slot, demanded tunnel.Protocol) protocol.Try
	// Dial makes a session for the slot; errors are *tunnel.ConnError.
	Dial(ctx context.Context, slot tunnel.Slot, edge tunnel.EdgeAddr, p tunnel.Protocol) (transport.Session, error)
	// Dialed receives the result of a dial that was not given up; tunnel.ReasonNone is a success.
	Dialed(edge tunnel.EdgeAddr, reason tunnel.Reason)
	// Observe receives the result of an attempt, and later the end of its connection. It reports whether the slot falls back
	// to another transport: tell is then the function that logs it, and else nil.
	Observe(slot tunnel.Slot, a hold.Attempt, e protocol.Event) (tell func())
}

// Host has the functions of the worker that a holder calls.
type Host interface {
	Transports
	// Request is the registration to make on a session.
	Request(ctx context.Context, s transport.Session, slot tunnel.Slot, r lease.Register) rpc.RegisterRequest
	// Rotate chooses another address without the store; the zero address when there is none.
	Rotate(slot tunnel.Slot, avoid tunnel.EdgeAddr) tunnel.EdgeAddr
	Store
	Observer
}

// Store is what the worker knows about the store (hold.Store).
type Store interface {
	// StoreDown reports whether the store is unavailable.
	StoreDown() bool
	// Fresh reports whether the store was read lately enough to act.
	Fresh() bool
}

// Observer receives what a holder does.
type Observer interface {
	// Changed signals that the status of a holder has changed.
	Changed()
	// Called counts a call to the edge that took so long; err is what it failed with.
	Called(m Method, took time.Duration, err error)
}

// Method is a call to the edge. The names are those of the reference's metrics (docs/spec/lifecycle.md 10.3).
type Method string

// The methods.
const (
	RegisterConnection       Method = "register_connection"
	UnregisterConnection     Method = "unregister_connection"
	UpdateLocalConfiguration Method = "update_local_configuration"
)

// Methods lists all of them.
func Methods() []Method {
	return []Method{RegisterConnection, UnregisterConnection, UpdateLocalConfiguration}
}

// Serving serves the streams and datagrams of one session.
type Serving interface {
	// Serve accepts streams until the session ends, and returns its cause.
	Serve() error
	// Drained waits until no stream is served, or until ctx ends.
	Drained(ctx context.Context)
	// InFlight is the number of streams that are served now.
	InFlight() int
}

// Serve makes the Serving of a registered session. The flag says that the registration announced datagram v3.
type Serve func(s transport.Session, meta link.Meta, datagramV3 bool) Serving

// Config is what all holders of a tunnel share.
type Config struct {
	Host   Host
	Serve  Serve
	Policy lease.Policy
	// RPCTimeout bounds every call to the edge.
	RPCTimeout time.Duration
	// Told is what lines of the log say beyond what the holder knows.
	Told Told
	// LocalConfig gives the JSON that index 0 uploads; it may be nil, and may give nil.
	LocalConfig func() []byte
	Logger      *slog.Logger
}

// Told are facts for the lines of the log (docs/spec/logs.md). No function is called with a lock held.
type Told interface {
	// Others counts the registered connections of the connector in this process, without the one of a slot.
	Others(slot tunnel.Slot) int
	// WaitUpTo is the longest wait after so many failures in a row; refused says that the edge refused for good.
	WaitUpTo(retries int, refused bool) time.Duration
	// Curves names the key exchanges that a dial over p offers.
	Curves(p tunnel.Protocol) string
}

// Holder holds one slot.
type Holder struct {
	cfg  Config
	slot tunnel.Slot
	log  *slog.Logger

	// The loop of Run alone touches these.
	machine  *hold.Machine
	attempts map[hold.Attempt]*attempt // those that were not closed
	after    func()                    // runs after the present event was handled; it may be nil
	now      func() time.Time
	timer    *time.Timer
	tasks    sync.WaitGroup

	notify chan struct{}

	// mu guards what follows.
	mu      sync.Mutex
	mailbox []hold.Event
	view    Snapshot
	serving Serving
	// breaking says that a reconnect was accepted and that the loop has not handled it yet.
	breaking bool
}

// Snapshot is the state of a holder at one moment.
type Snapshot = hold.View

// New makes a holder that waits for its grant.
func New(slot tunnel.Slot, cfg Config) *Holder {
	h := &Holder{
		cfg: cfg, slot: slot, attempts: map[hold.Attempt]*attempt{}, now: time.Now, notify: make(chan struct{}, 1),
		log: cfg.Logger.With(slog.Int(logkey.ConnIndex, int(slot.Index))),
	}
	h.machine = hold.NewMachine(slot, (*host)(h), cfg.Policy)
	return h
}

// Send hands an event to the holder; it never blocks.
func (h *Holder) Send(e lease.Event) {
	h.post(hold.Sent{Event: e})
}

// Rename makes the attempts to come use another connector id.
func (h *Holder) Rename(id tunnel.ConnectorID) { h.post(hold.Renamed{Connector: id}) }

// Look ends a wait after a failure after the delay: the network changed.
func (h *Holder) Look(delay time.Duration) { h.post(hold.Looked{Delay: delay}) }

// Reconnect breaks the session and dials again after the delay. It returns false and does nothing while there is no registered
// session, and while an earlier call has not broken it yet.
func (h *Holder) Reconnect(delay time.Duration) bool {
	h.mu.Lock()
	ok := h.view.Phase == lease.PhaseConnected && !h.breaking
	h.breaking = h.breaking || ok
	h.mu.Unlock()
	if ok {
		h.post(hold.Sent{Event: lease.Event{Kind: lease.EventReconnect, Delay: delay}})
	}
	return ok
}

// Snapshot returns the present state.
func (h *Holder) Snapshot() Snapshot {
	h.mu.Lock()
	defer h.mu.Unlock()
	v := h.view
	if h.serving != nil {
		v.Status.InFlight = h.serving.InFlight()
	}
	return v
}

func (h *Holder) post(e hold.Event) {
	h.mu.Lock()
	h.mailbox = append(h.mailbox, e)
	h.mu.Unlock()
	select {
	case h.notify <- struct{}{}:
	default:
	}
}

func (h *Holder) take() []hold.Event {
	h.mu.Lock()
	defer h.mu.Unlock()
	m := h.mailbox
	h.mailbox = nil
	return m
}

// Run holds the slot until the machine has ended. If ctx ends first, everything is closed at once, without unregistering.
func (h *Holder) Run(ctx context.Context) {
	h.timer = time.NewTimer(time.Hour)
	h.timer.Stop()
	defer h.timer.Stop()
	defer h.tasks.Wait()
	for !h.machine.Ended() {
		select {
		case <-ctx.Done():
			h.step(ctx, hold.Abandoned{})
		case <-h.notify:
			for _, e := range h.take() {
				h.step(ctx, e)
			}
		case <-h.timer.C:
			h.step(ctx, hold.Timer{})
		}
	}
	h.tasks.Wait()
	for _, e := range h.take() { // late results
		h.step(ctx, e)
	}
}

func (h *Holder) step(ctx context.Context, e hold.Event) {
	h.after = nil
	actions, err := h.machine.Step(h.now(), e)
	if err != nil {
		h.log.ErrorContext(ctx, "lease machine refused an event", slog.Any(logkey.Err, err))
		return
	}
	for _, a := range actions {
		h.do(ctx, a)
	}
	h.publish()
	if sent, ok := e.(hold.Sent); ok && sent.Kind == lease.EventReconnect {
		h.mu.Lock()
		h.breaking = false
		h.mu.Unlock()
	}
	if h.after != nil {
		h.after()
	}
}

// publish makes the machine's state visible.
func (h *Holder) publish() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.view = h.machine.View()
}

// host is a Holder as the host of its machine.
type host Holder

func (h *host) Protocol(_ time.Time, slot tunnel.Slot, demanded tunnel.Protocol) protocol.Try {
	return h.cfg.Host.Protocol(slot, demanded)
}

func (h *host) Dialed(_ time.Time, edge tunnel.EdgeAddr, reason tunnel.Reason) {
	h.cfg.Host.Dialed(edge, reason)
}

func (h *host) Observe(_ time.Time, slot tunnel.Slot, a hold.Attempt, e protocol.Event) (fell bool) {
	tell := h.cfg.Host.Observe(slot, a, e)
	if tell != nil {
		h.after = tell
	}
	return tell != nil
}

func (h *host) Rotate(_ time.Time, slot tunnel.Slot, avoid tunnel.EdgeAddr) tunnel.EdgeAddr {
	return h.cfg.Host.Rotate(slot, avoid)
}

func (h *host) StoreDown() bool { return h.cfg.Host.StoreDown() }

func (h *host) Fresh(time.Time) bool { return h.cfg.Host.Fresh() }

// tell logs changes that an operator should see.
func (h *Holder) tell(ctx context.Context, n hold.Note) {
	e, after, status := n.Event, n.View.Phase, n.View.Status
	attrs := append(about(n.Edge(), n.Protocol), slog.Uint64(logkey.Epoch, uint64(n.View.Grant.Epoch)))
	switch {
	case e.Err != nil:
		h.log.WarnContext(ctx, "connection failed", append(attrs,
			slog.String(logkey.Kind, e.Kind.String()), slog.String(logkey.Reason, string(status.Reason)),
			slog.Int(logkey.Retries, status.Retries), slog.Duration(logkey.WaitUpTo, h.waitUpTo(e, after, status.Retries)),
			slog.Int(logkey.Connections, h.cfg.Told.Others(h.slot)), slog.Any(logkey.Err, causeOf(e)))...)
	case e.Kind == lease.EventReconnect:
		h.log.InfoContext(ctx, "connection restarts on request", append(attrs, slog.Duration(logkey.Wait, e.Delay))...)
	case n.Before == after:
	case after == lease.PhaseConnected && n.Before == lease.PhaseRegistering:
		h.log.InfoContext(ctx, "connection registered", append(attrs, slog.String(logkey.Location, status.Location),
			slog.String(logkey.ConnectionID, tunnel.ID(h.attempts[n.Attempt].details.UUID).String()))...)
	case after == lease.PhaseSuperseded:
		h.log.InfoContext(ctx, "slot moves to another holder", attrs...)
	case after == lease.PhaseDraining:
		h.log.InfoContext(ctx, "connection drains", attrs...)
	case after == lease.PhaseEnded:
		h.log.InfoContext(ctx, "connection ended", attrs...)
	}
}

// causeOf is the error of an event for people. The reason, and the address of a dial, are attributes of their own, so they do not stand
// before the cause.
func causeOf(e lease.Event) error {
	var (
		failure *tunnel.ConnError
		op      *net.OpError
	)
	switch {
	case !errors.As(e.Err, &failure) || failure.Err == nil:
		return e.Err
	case e.Kind != lease.EventDialFailed:
		return failure.Err
	case errors.As(failure.Err, &op):
		return op
	}
	if cause := errors.Unwrap(failure.Err); cause != nil {
		return cause
	}
	return failure.Err
}

// about are the attributes of every line about a connection.
func about(edge tunnel.EdgeAddr, p tunnel.Protocol) []any {
	return []any{slog.String(logkey.EdgeAddr, edge.String()), slog.String(logkey.Protocol, string(p))}
}

// waitUpTo is the longest wait until the next attempt after a failure, zero when there is none.
func (h *Holder) waitUpTo(e lease.Event, after lease.Phase, retries int) time.Duration {
	if e.SkipBackoff || after == lease.PhaseEnded {
		return 0
	}
	return h.cfg.Told.WaitUpTo(retries, after == lease.PhaseRefused)
}
