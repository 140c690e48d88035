package storetest

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/culvert-tunnel/culvert/pkg/quota"
	"github.com/culvert-tunnel/culvert/pkg/redisstore"
)

// testQuota: processes that renew at the same time never get more than the limit together, and a new table gives nobody more than it has.
func testQuota(t *testing.T, open func(t *testing.T) *redisstore.Store) {
	s, id := open(t), newTunnel(t)
	const limit, processes = 20, 4
	var total atomic.Int64
	over := make(chan struct{})
	var wg sync.WaitGroup
	for p := range processes {
		wg.Go(func() {
			held := uint64(0)
			for seq := uint64(1); ; seq++ {
				select {
				case <-over:
					return
				default:
				}
				a := quota.Ask{Process: fmt.Sprint("p", p), Seq: seq, Limit: limit, Held: held, Used: held, Want: (seq / 64 % 4) * limit / 2}
				got, err := s.RenewQuota(t.Context(), id, a)
				if err != nil {
					t.Error(err)
					return
				}
				if n := total.Add(int64(got.Share) - int64(held)); n > limit {
					t.Errorf("%d processes hold %d of %d places", processes, n, limit)
					return
				}
				held = got.Share
			}
		})
	}
	eventually(t, "all places are given out", func() bool { return total.Load() == limit })
	close(over)
	wg.Wait()
	first := newTunnel(t)
	got, err := s.RenewQuota(t.Context(), first, quota.Ask{Process: "p", Seq: 1, Limit: limit, Held: 5, Used: 2, Want: limit})
	if err != nil || got != (quota.Answer{Share: 5, Processes: 1, Short: true}) {
		t.Errorf("the first of all: %+v, %v", got, err)
	}
	wantError(t, "LeaveQuota", s.LeaveQuota(t.Context(), first, "p"), nil)
	got, err = s.RenewQuota(t.Context(), first, quota.Ask{Process: "q", Seq: 1, Limit: limit, Held: 1, Want: 1})
	if err != nil || got.Processes != 1 {
		t.Errorf("after the other one left: %+v, %v", got, err)
	}
}
