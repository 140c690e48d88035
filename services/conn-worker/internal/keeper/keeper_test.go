package keeper

import (
	"context"
	"log/slog"
	"testing"

	"github.com/culvert-tunnel/culvert/pkg/lease"
	"github.com/culvert-tunnel/culvert/pkg/testkit"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
	"github.com/culvert-tunnel/culvert/services/conn-worker/internal/conn"
)

// slowStore reports each release and finishes it when the test says so.
type slowStore struct {
	Store
	began, finish chan struct{}
}

func (s *slowStore) Release(context.Context, tunnel.Slot, tunnel.WorkerID, tunnel.Epoch) error {
	s.began <- struct{}{}
	<-s.finish
	return nil
}

type quiet struct{}

func (quiet) Observe(context.Context, error) {}
func (quiet) Up() bool                       { return true }
func (quiet) Hint(context.Context, string)   {}

// TestHolderCountsUntilItsLeaseIsReleased: a drain that ends earlier cancels the release, and the slot stays taken until the lease
// expires.
func TestHolderCountsUntilItsLeaseIsReleased(t *testing.T) {
	store := &slowStore{began: make(chan struct{}, 1), finish: make(chan struct{})}
	ended := make(chan struct{}, 1)
	k := newKeeper(Config{}, Deps{Store: store, Control: quiet{}, Logger: slog.New(slog.DiscardHandler)}, nil,
		hooks{holderEnded: func() { ended <- struct{}{} }}, Credentials{})
	h := conn.New(tunnel.Slot{}, k.holderConfig())
	k.holders[0] = append(k.holders[0], h)
	k.reported[0] = lease.Status{}
	go k.ended(t.Context(), h, 0)
	testkit.Receive(t, "the release", store.began)
	if n := k.held(); n != 1 {
		t.Errorf("held() = %d during the release, want 1", n)
	}
	close(store.finish)
	testkit.Receive(t, "the end", ended)
	if n := k.held(); n != 0 {
		t.Errorf("held() = %d after the release, want 0", n)
	}
}
