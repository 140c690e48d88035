package keeper

import (
	"errors"
	"fmt"

	"github.com/culvert-tunnel/culvert/pkg/lease"
)

// Reasons of not being ready.
var (
	errNoConnector = errors.New("waiting for the store: the connector id is not known yet")
	errNoSlot      = errors.New("no slot is granted to this worker")
)

// ready returns why the tunnel is not served, or nil. A worker that holds no slot is ready while another one serves.
func (k *keeper) ready() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.connector.IsZero() {
		return k.unready(errNoConnector)
	}
	var last string
	held := 0
	for _, hs := range k.holders {
		for _, h := range hs {
			v := h.Snapshot()
			held++
			if v.Status.State == lease.StateConnected {
				return nil
			}
			if v.Status.Error != "" {
				last = v.Status.Error
			}
		}
	}
	if held == 0 {
		for _, r := range k.records {
			if r.Live && r.Status.State == lease.StateConnected {
				return nil
			}
		}
		return k.unready(errNoSlot)
	}
	if last == "" {
		last = "connecting"
	}
	return k.unready(fmt.Errorf("no connection to the edge: %s", last))
}

func (k *keeper) unready(err error) error { return fmt.Errorf("tunnel %s: %w", k.cred.TunnelID, err) }
