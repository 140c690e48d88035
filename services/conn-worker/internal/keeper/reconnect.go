package keeper

import (
	"errors"
	"fmt"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

// ErrNotConnected says that a connection is not registered, so that there is nothing to break.
var ErrNotConnected = errors.New("the connection is not registered")

// Reconnect breaks the connection index of the tunnel id and makes it again after the delay. The slot keeps its lease. The error is
// tunnel.ErrNotFound for a tunnel that is not served here, and ErrNotConnected for a connection that is not registered here.
func (s *Set) Reconnect(id tunnel.ID, index tunnel.ConnIndex, delay time.Duration) error {
	for _, k := range s.keepers {
		if k.cred.TunnelID == id {
			return k.reconnect(index, delay)
		}
	}
	return fmt.Errorf("tunnel %s: %w", id, tunnel.ErrNotFound)
}

func (k *keeper) reconnect(index tunnel.ConnIndex, delay time.Duration) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, held := range k.machine.Holders() {
		if held.Slot.Index == index && k.holders[held.Holder].Reconnect(delay) {
			return nil
		}
	}
	return fmt.Errorf("tunnel %s, connection %d: %w", k.cred.TunnelID, index, ErrNotConnected)
}
