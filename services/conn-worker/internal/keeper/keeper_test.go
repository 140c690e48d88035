package keeper

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/edgepool"
	"github.com/culvert-tunnel/culvert/pkg/lease"
	"github.com/culvert-tunnel/culvert/pkg/protocol"
	"github.com/culvert-tunnel/culvert/pkg/testkit"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

// slowStore grants slot 0 to worker-1, for later. It reports each release and finishes it when the test says so.
type slowStore struct {
	Store
	began, finish chan struct{}
}

func (s *slowStore) EnsureConnector(_ context.Context, _ tunnel.ID, candidate tunnel.ConnectorID) (tunnel.ConnectorID, error) {
	return candidate, nil
}

func (s *slowStore) Pool(context.Context, string) (edgepool.Pool, error) {
	return edgepool.Pool{}, tunnel.ErrNotFound
}

func (s *slowStore) Report(
	context.Context, tunnel.ID, tunnel.ConnectorID, tunnel.WorkerID, string, []lease.Report,
) (lease.Table, error) {
	return lease.Table{Records: []lease.Record{{Grant: lease.Grant{Worker: "worker-1", Epoch: 5, Wait: time.Hour}, Live: true}}}, nil
}

func (s *slowStore) Release(context.Context, tunnel.Slot, tunnel.WorkerID, tunnel.Epoch) error {
	s.began <- struct{}{}
	<-s.finish
	return nil
}

type quiet struct{}

func (quiet) Observe(context.Context, error) {}
func (quiet) Up() bool                       { return true }
func (quiet) Responds() bool                 { return true }
func (quiet) Hint(context.Context, string)   {}

// TestHolderCountsUntilItsLeaseIsReleased: a drain that ends earlier cancels the release, and the slot stays taken until the lease
// expires.
func TestHolderCountsUntilItsLeaseIsReleased(t *testing.T) {
	store := &slowStore{began: make(chan struct{}, 1), finish: make(chan struct{})}
	ended := make(chan struct{}, 1)
	k := newKeeper(Config{Worker: "worker-1"}, Deps{
		Store: store, Control: quiet{}, Logger: slog.New(slog.DiscardHandler), HolderGone: func() { ended <- struct{}{} },
	}, shared{
		transports: newTransports(protocol.Auto, time.Hour), asking: newAsking(), pools: newPools(store), marks: newMarks(store),
	}, func() {}, Credentials{})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		k.run(ctx)
	}()
	testkit.Eventually(t, "the holder", func() bool { return k.held() == 1 })
	k.drain(ctx)
	testkit.Receive(t, "the release", store.began)
	if n := k.held(); n != 1 {
		t.Errorf("held() = %d during the release, want 1", n)
	}
	close(store.finish)
	testkit.Receive(t, "the end", ended)
	if n := k.held(); n != 0 {
		t.Errorf("held() = %d after the release, want 0", n)
	}
	cancel()
	testkit.Receive(t, "the end of the keeper", done)
}
