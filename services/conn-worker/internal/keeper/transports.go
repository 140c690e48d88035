package keeper

import (
	"context"
	"errors"
	"log/slog"
	mathrand "math/rand/v2"
	"net/netip"
	"sync"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/control/hold"
	"github.com/culvert-tunnel/culvert/pkg/control/keep"
	"github.com/culvert-tunnel/culvert/pkg/logkey"
	"github.com/culvert-tunnel/culvert/pkg/protocol"
	"github.com/culvert-tunnel/culvert/pkg/transport"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

// transports is what this host knows of the transports, for all tunnels: protocol.Choices for concurrent use.
type transports struct {
	choice protocol.Choice

	mu    sync.Mutex
	known *protocol.Choices // guarded by mu
}

var _ keep.Choices = (*transports)(nil)

func newTransports(choice protocol.Choice, returnAfter time.Duration) *transports {
	return &transports{choice: choice, known: protocol.NewChoices(mathrand.Int64N, returnAfter)}
}

// demanded is the transport that the operator has chosen, or empty for auto.
func (c *transports) demanded() tunnel.Protocol {
	if c.choice == protocol.Auto {
		return ""
	}
	return protocol.Select(protocol.Criteria{Choice: c.choice}).Preferred
}

// Next is how a slot's next attempt is made.
func (c *transports) Next(now time.Time, slot tunnel.Slot, s protocol.Selection) protocol.Try {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.known.Next(now, slot, s)
}

// Prefers is the protocol that a slot would use now.
func (c *transports) Prefers(now time.Time, slot tunnel.Slot, s protocol.Selection) tunnel.Protocol {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.known.Prefers(now, slot, s)
}

// Report records the result of an attempt.
func (c *transports) Report(
	now time.Time, slot tunnel.Slot, p tunnel.Protocol, e protocol.Event, addr netip.AddrPort,
) (protocol.Change, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.known.Report(now, slot, p, e, addr)
}

// ProbeDue reports whether the preferred protocol is to be probed now.
func (c *transports) ProbeDue(now time.Time, slot tunnel.Slot) (tunnel.Protocol, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.known.ProbeDue(now, slot)
}

// Probed records the result of a probe.
func (c *transports) Probed(now time.Time, slot tunnel.Slot, e protocol.Event) (protocol.Change, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.known.Probed(now, slot, e)
}

// Protocol chooses the transport of an attempt that begins now.
func (k *keeper) Protocol(slot tunnel.Slot, demanded tunnel.Protocol) protocol.Try {
	k.mu.Lock()
	t, first := k.machine.Protocol(time.Now(), slot, demanded)
	k.mu.Unlock()
	if first {
		k.log.Info("first protocol chosen", slog.String(logkey.Protocol, string(t.Protocol)))
	}
	return t
}

// Observe records the result of an attempt. When the slot falls back to another transport, tell logs it.
func (k *keeper) Observe(slot tunnel.Slot, a hold.Attempt, e protocol.Event) (tell func()) {
	k.mu.Lock()
	_, actions := k.machine.Observe(time.Now(), slot, a, e)
	k.mu.Unlock()
	for _, a := range actions {
		if later := k.tell(context.Background(), a); later != nil {
			tell = later
		}
	}
	return tell
}

// tellTurn logs the change of a slot's transport. A fallback is logged by the function that it returns, and one warning per host is
// enough, because the other slots follow.
func tellTurn(ctx context.Context, log *slog.Logger, change protocol.Change) (later func()) {
	probeIn := slog.Duration(logkey.NextProbeIn, time.Until(change.ProbeAt).Round(time.Second))
	from, to := slog.String(logkey.From, string(change.From)), slog.String(logkey.To, string(change.To))
	switch change.Turn {
	case protocol.Unchanged:
	case protocol.FellBack:
		write := log.InfoContext
		if change.First {
			write = log.WarnContext
		}
		return func() {
			write(ctx, "falling back to another protocol", from, to, slog.Int(logkey.Failures, change.Failures), probeIn)
		}
	case protocol.Returned:
		log.InfoContext(ctx, "returning to the preferred protocol", from, to)
	case protocol.ProbeFailed:
		log.InfoContext(ctx, "the preferred protocol still does not work", slog.String(logkey.Using, string(change.To)), probeIn)
	}
	return nil
}

// probe dials the address that a slot is connected to over another protocol, and closes the session.
func (k *keeper) probe(ctx context.Context, p keep.Probe) {
	session, err := k.deps.Dialer.Dial(ctx, p.Slot, p.Edge.Addr, p.Protocol)
	if err == nil {
		if err := session.CloseWithError(transport.NoError, ""); err != nil && !errors.Is(err, context.Canceled) {
			k.log.DebugContext(ctx, "probe not closed", slog.Any(logkey.Err, err))
		}
	}
	if ctx.Err() != nil {
		return // the worker ends
	}
	k.step(ctx, keep.Probed{Slot: p.Slot, Edge: p.Edge, Err: err})
}
