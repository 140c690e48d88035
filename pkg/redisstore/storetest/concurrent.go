package storetest

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/culvert-tunnel/culvert/pkg/edgepool"
	"github.com/culvert-tunnel/culvert/pkg/lease"
	"github.com/culvert-tunnel/culvert/pkg/redisstore"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

const (
	rivals = 8
	rounds = 10
)

// together runs f for each of the rivals at the same time, each with a store of its own.
func together(stores []*redisstore.Store, f func(i int, s *redisstore.Store)) {
	var wg sync.WaitGroup
	for i, s := range stores {
		wg.Go(func() { f(i, s) })
	}
	wg.Wait()
}

func testConcurrent(t *testing.T, open func(t *testing.T) *redisstore.Store) {
	stores := make([]*redisstore.Store, rivals)
	for i := range stores {
		stores[i] = open(t)
	}
	t.Run("one grant wins", func(t *testing.T) { oneGrant(t, stores) })
	t.Run("one address one slot", func(t *testing.T) { oneAddress(t, stores) })
	t.Run("old holder against new", func(t *testing.T) { oldAgainstNew(t, stores) })
	t.Run("one leader", func(t *testing.T) { oneLeader(t, stores) })
	t.Run("one connector id", func(t *testing.T) { oneConnectorID(t, stores) })
	t.Run("pool versions differ", func(t *testing.T) { poolVersions(t, stores) })
}

func oneGrant(t *testing.T, stores []*redisstore.Store) {
	slot := newSlots(t, 1)[0]
	var last tunnel.Epoch
	for range rounds {
		var winners atomic.Int32
		var epoch atomic.Uint64
		together(stores, func(i int, s *redisstore.Store) {
			g, err := s.Grant(t.Context(), grantTo(slot, fmt.Sprintf("w%d", i), i), last, long)
			switch {
			case err == nil:
				winners.Add(1)
				epoch.Store(uint64(g.Epoch))
			case !errors.Is(err, tunnel.ErrConflict):
				t.Errorf("Grant: %v", err)
			}
		})
		if got := winners.Load(); got != 1 {
			t.Fatalf("%d supervisors granted the slot, want 1", got)
		}
		if got := tunnel.Epoch(epoch.Load()); got <= last {
			t.Fatalf("epoch %d after %d, want it to grow", got, last)
		}
		last = tunnel.Epoch(epoch.Load())
	}
}

func oneAddress(t *testing.T, stores []*redisstore.Store) {
	slots := newSlots(t, rivals)
	var winners atomic.Int32
	together(stores, func(i int, s *redisstore.Store) {
		_, err := s.Grant(t.Context(), grantTo(slots[i], "w", 1), 0, long)
		if err == nil {
			winners.Add(1)
		} else if !errors.Is(err, tunnel.ErrConflict) {
			t.Errorf("Grant: %v", err)
		}
	})
	if got := winners.Load(); got != 1 {
		t.Errorf("%d slots hold the address, want 1", got)
	}
}

func oldAgainstNew(t *testing.T, stores []*redisstore.Store) {
	slot := newSlots(t, 1)[0]
	current := mustGrant(t, stores[0], grantTo(slot, "w", 1), 0, long)
	for range rounds {
		old := current
		together(stores[:2], func(i int, s *redisstore.Store) {
			if i == 0 {
				g, err := s.Grant(t.Context(), grantTo(slot, "w", 1), old.Epoch, long)
				if err != nil {
					t.Errorf("Grant: %v", err)
				}
				current = g
				return
			}
			// The same worker with the old epoch: applied before the grant or not at all.
			_, err := s.Renew(t.Context(), slot.Tunnel, slot.Connector, "w",
				[]lease.Report{report(old, lease.Status{State: lease.StateConnected})}, long)
			if err != nil {
				t.Errorf("Renew: %v", err)
			}
		})
		got := only(t, slotsOf(t, stores[0], slot))
		if got.Epoch != current.Epoch || got.Status.State != lease.StateGranted {
			t.Fatalf("record: got %+v, want the new grant untouched", got)
		}
	}
}

func oneLeader(t *testing.T, stores []*redisstore.Store) {
	role := unique(t)
	var leaders atomic.Int32
	together(stores, func(i int, s *redisstore.Store) {
		leads, err := s.TakeLead(t.Context(), role, fmt.Sprintf("h%d", i), long)
		if err != nil {
			t.Errorf("TakeLead: %v", err)
		}
		if leads {
			leaders.Add(1)
		}
	})
	if got := leaders.Load(); got != 1 {
		t.Errorf("%d leaders, want 1", got)
	}
}

func oneConnectorID(t *testing.T, stores []*redisstore.Store) {
	id := newTunnel(t)
	candidates := make([]tunnel.ConnectorID, rivals)
	for i := range candidates {
		candidates[i] = newConnector(t)
	}
	got := make([]tunnel.ConnectorID, rivals)
	together(stores, func(i int, s *redisstore.Store) {
		var err error
		if got[i], err = s.EnsureConnector(t.Context(), id, candidates[i]); err != nil {
			t.Errorf("EnsureConnector: %v", err)
		}
	})
	for i := range got {
		if got[i] != got[0] {
			t.Errorf("connector ids: got %v, want all equal", got)
			break
		}
	}
}

func poolVersions(t *testing.T, stores []*redisstore.Store) {
	name := unique(t)
	var versions sync.Map
	together(stores, func(_ int, s *redisstore.Store) {
		for range rounds {
			p := edgepool.Pool{Regions: []edgepool.RegionPool{region("r1", "192.0.2.1:1"), region("r2", "192.0.2.2:1")}}
			v, err := s.PublishPool(t.Context(), name, p)
			if err != nil {
				t.Errorf("PublishPool: %v", err)
				return
			}
			if _, seen := versions.LoadOrStore(v, true); seen {
				t.Errorf("version %d was given twice", v)
			}
		}
	})
}
