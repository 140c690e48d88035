package keeper

import (
	"context"
	"fmt"
	mathrand "math/rand/v2"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/control/hold"
	"github.com/culvert-tunnel/culvert/pkg/lease"
	"github.com/culvert-tunnel/culvert/pkg/transport"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
	"github.com/culvert-tunnel/culvert/pkg/wire/rpc"
	"github.com/culvert-tunnel/culvert/services/conn-worker/internal/conn"
)

var _ conn.Host = (*keeper)(nil)

// times shape the waits of the holders.
func (k *keeper) times() hold.Times {
	return hold.Times{Grace: k.cfg.GracePeriod, Retries: k.cfg.Retries}
}

func (k *keeper) holderConfig() conn.Config {
	return conn.Config{
		Host: k, Serve: k.deps.Serve, Policy: k.times().Policy(mathrand.Int64N), RPCTimeout: k.cfg.RPCTimeout,
		LocalConfig: k.deps.LocalConfig, Logger: k.log, Told: told{k},
	}
}

// told is a keeper as the source of facts for the lines of its holders.
type told struct{ k *keeper }

// Others counts the registered connections beside the one of slot.
func (t told) Others(slot tunnel.Slot) int {
	t.k.mu.Lock()
	defer t.k.mu.Unlock()
	return t.k.machine.Others(slot)
}

// WaitUpTo is the bound of the waits of the holders.
func (t told) WaitUpTo(retries int, refused bool) time.Duration {
	return t.k.times().WaitUpTo(retries, refused)
}

// Curves names the key exchanges of the dialer.
func (t told) Curves(p tunnel.Protocol) string { return fmt.Sprint(t.k.deps.Dialer.Curves(p)) }

// Dial makes a session.
func (k *keeper) Dial(ctx context.Context, slot tunnel.Slot, edge tunnel.EdgeAddr, p tunnel.Protocol) (transport.Session, error) {
	session, err := k.deps.Dialer.Dial(ctx, slot, edge.Addr, p)
	if ctx.Err() == nil {
		reason := tunnel.ReasonOf(err)
		k.deps.Observer.Dialed(reason, p)
		if err == nil {
			k.deps.Observer.Opened(slot, session)
		}
	}
	return session, err
}

// Dialed records the result of a dial in the health of the address.
func (k *keeper) Dialed(edge tunnel.EdgeAddr, reason tunnel.Reason) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.machine.Dialed(time.Now(), edge, reason)
	k.asking.observe(k, k.machine.Exhausted())
}

// Request is the registration of a slot (docs/spec/wire.md 8.1), with the real local address.
func (k *keeper) Request(ctx context.Context, session transport.Session, slot tunnel.Slot, r lease.Register) rpc.RegisterRequest {
	return rpc.RegisterRequest{
		Auth: *k.auth.Load(), TunnelID: slot.Tunnel, Index: slot.Index,
		Options: rpc.Options{
			ConnectorID: slot.Connector, Version: k.cfg.Version, Arch: arch(),
			Features:            k.features(r.Epoch),
			OriginLocalIP:       k.deps.Dialer.LocalIP(ctx, session),
			NumPreviousAttempts: r.PreviousAttempts,
		},
	}
}

// Rotate chooses another address without the store.
func (k *keeper) Rotate(slot tunnel.Slot, avoid tunnel.EdgeAddr) tunnel.EdgeAddr {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.machine.Rotate(time.Now(), slot, avoid)
}

// StoreDown reports whether the store is unavailable.
func (k *keeper) StoreDown() bool { return !k.deps.Control.Up() }

// Fresh reports whether the store was read lately enough to act, or whether the worker has to act without it.
func (k *keeper) Fresh() bool {
	if !k.deps.Control.Responds() {
		return true
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.machine.Fresh(time.Now())
}

// Called counts a call to the edge.
func (k *keeper) Called(m conn.Method, took time.Duration, err error) {
	k.deps.Observer.Called(m, took, err)
}

// Changed makes the loop report soon.
func (k *keeper) Changed() { k.wake() }
