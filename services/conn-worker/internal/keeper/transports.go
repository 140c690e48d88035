package keeper

import (
	"context"
	"errors"
	"log/slog"
	mathrand "math/rand/v2"
	"sync"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/control/hold"
	"github.com/culvert-tunnel/culvert/pkg/credential"
	"github.com/culvert-tunnel/culvert/pkg/lease"
	"github.com/culvert-tunnel/culvert/pkg/logkey"
	"github.com/culvert-tunnel/culvert/pkg/protocol"
	"github.com/culvert-tunnel/culvert/pkg/transport"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
	"github.com/culvert-tunnel/culvert/services/conn-worker/internal/conn"
)

// transports is what this host knows of the transports, for all tunnels.
type transports struct {
	choice protocol.Choice

	mu    sync.Mutex
	known *protocol.Choices // guarded by mu
}

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

// selection is the transports that a slot may use. The setting of this host, which fits its network, overrides the one of the
// grant, which may come from another worker. k.mu is held.
func (k *keeper) selection(demanded tunnel.Protocol) protocol.Selection {
	choice := k.transports.choice
	if choice == protocol.Auto && demanded != "" {
		choice = protocol.Choice(demanded)
	}
	shares, err := protocol.ParseShares(k.pool.ProtocolTXT)
	if err != nil {
		shares = nil // discovery publishes valid texts only
	}
	return protocol.Select(protocol.Criteria{
		Choice: choice, Token: k.token, Shares: shares, AccountHash: credential.AccountHash(k.cred.AccountTag),
	})
}

// Protocol chooses the transport of an attempt that begins now.
func (k *keeper) Protocol(slot tunnel.Slot, demanded tunnel.Protocol) tunnel.Protocol {
	k.mu.Lock()
	s := k.selection(demanded)
	first := !k.chose
	k.chose = true
	k.mu.Unlock()
	if first {
		k.log.Info("first protocol chosen", slog.String(logkey.Protocol, string(s.Preferred)))
	}
	c := k.transports
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.known.Next(time.Now(), slot, s)
}

// prefers is the transport that a connected slot would rather use, or empty. k.mu is held.
func (k *keeper) prefers(index tunnel.ConnIndex, v conn.Snapshot) tunnel.Protocol {
	if v.Status.State != lease.StateConnected {
		return ""
	}
	c := k.transports
	c.mu.Lock()
	defer c.mu.Unlock()
	if p := c.known.Prefers(time.Now(), k.slot(index), k.selection(v.Grant.Protocol)); p != v.Status.Protocol {
		return p
	}
	return ""
}

func (k *keeper) slot(index tunnel.ConnIndex) tunnel.Slot {
	return tunnel.Slot{Tunnel: k.cred.TunnelID, Connector: k.connector, Index: index}
}

// Observe records the result of an attempt. When the slot falls back to another transport, tell logs it.
func (k *keeper) Observe(slot tunnel.Slot, a hold.Attempt, e protocol.Event) (tell func()) {
	c := k.transports
	c.mu.Lock()
	change, err := c.known.Report(time.Now(), slot, a.Protocol, e, a.Edge.Addr)
	c.mu.Unlock()
	return k.applyChange(slot, a.Edge, change, err)
}

// applyChange applies the effects of a change of a slot's transport, and logs it. A fallback is logged by tell, which the caller runs
// after it has logged the failure that led to it.
func (k *keeper) applyChange(slot tunnel.Slot, edge tunnel.EdgeAddr, change protocol.Change, err error) (tell func()) {
	log := k.log.With(slog.Int(logkey.ConnIndex, int(slot.Index)), slog.String(logkey.EdgeAddr, edge.String()))
	if err != nil {
		log.Error("protocol event rejected", slog.Any(logkey.Err, err))
		return nil
	}
	switch change.Turn {
	case protocol.Unchanged:
		return nil
	case protocol.FellBack:
		k.mu.Lock()
		k.health = nil // the failures were the protocol's, not the addresses'
		k.mu.Unlock()
		tell = func() { tellFallback(log, change) }
	case protocol.Returned:
		log.Info("returning to the preferred protocol", slog.String(logkey.From, string(change.From)), slog.String(logkey.To, string(change.To)))
		k.hooks.wakeAll() // all keepers report what their slots prefer now
	case protocol.ProbeFailed:
		log.Info("the preferred protocol still does not work", slog.String(logkey.Using, string(change.To)),
			slog.Duration(logkey.NextProbeIn, time.Until(change.ProbeAt).Round(time.Second)))
	}
	k.deps.Observer.Turned(change.Turn)
	return tell
}

// tellFallback logs a fallback: one warning per host is enough, the other slots follow.
func tellFallback(log *slog.Logger, change protocol.Change) {
	write := log.Info
	if change.First {
		write = log.Warn
	}
	write("falling back to another protocol", slog.String(logkey.From, string(change.From)), slog.String(logkey.To, string(change.To)),
		slog.Int(logkey.Failures, change.Failures), slog.Duration(logkey.NextProbeIn, time.Until(change.ProbeAt).Round(time.Second)))
}

// probe starts at most one probe of the preferred transport while a slot is connected over the fallback.
func (k *keeper) probe(ctx context.Context) {
	c := k.transports
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.leaving {
		return
	}
	for index, hs := range k.holders {
		if len(hs) == 0 {
			continue
		}
		v := hs[len(hs)-1].Snapshot()
		if v.Status.State != lease.StateConnected {
			continue
		}
		c.mu.Lock()
		p, due := c.known.ProbeDue(time.Now(), k.slot(index))
		c.mu.Unlock()
		if due {
			k.holding.Go(func() { k.probeOver(ctx, k.slot(index), v.Edge, p) })
			return
		}
	}
}

// probeOver dials the address that the slot is connected to over p, closes the session, and records the result.
func (k *keeper) probeOver(ctx context.Context, slot tunnel.Slot, edge tunnel.EdgeAddr, p tunnel.Protocol) {
	session, err := k.deps.Dialer.Dial(ctx, slot, edge.Addr, p)
	event := protocol.Connected
	if err != nil {
		event = protocol.EventOf(tunnel.ReasonOf(err))
		if event == protocol.Lost {
			event = protocol.DialFailed // a failure on this host does not show that the transport works
		}
	} else if err := session.CloseWithError(transport.NoError, ""); err != nil && !errors.Is(err, context.Canceled) {
		k.log.DebugContext(ctx, "probe not closed", slog.Any(logkey.Err, err))
	}
	if ctx.Err() != nil {
		return // the worker ends
	}
	c := k.transports
	c.mu.Lock()
	change, err := c.known.Probed(time.Now(), slot, event)
	c.mu.Unlock()
	if tell := k.applyChange(slot, edge, change, err); tell != nil {
		tell()
	}
}
