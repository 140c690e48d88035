package memstore_test

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/quota"
	"github.com/culvert-tunnel/culvert/pkg/redisstore/command"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
	"github.com/culvert-tunnel/culvert/tests/sim/memstore"
)

// TestQuotaScript compares the script with the rule in Go, for random asks of up to five processes over the time.
func TestQuotaScript(t *testing.T) {
	id := tunnel.ID{1}
	for seed := range uint64(60) {
		r := rand.New(rand.NewPCG(seed, 3))
		s, now := memstore.New(start), int64(start)
		table, seq := &quota.Table{}, map[string]uint64{}
		for step := range 60 {
			if now += r.Int64N(1500) * 1000; r.IntN(15) == 0 {
				now += int64(quota.StaleAfter/time.Microsecond) + r.Int64N(20)*1_000_000
			}
			s.SetNow(now)
			process := fmt.Sprint("p/", r.IntN(5))
			switch r.IntN(30) {
			case 0:
				must(t, s, command.LeaveQuota(id, process), nil)
				table.Leave(process)
				continue
			case 1:
				s.Flush()
				*table = quota.Table{}
			case 2: // an old one again
			default:
				seq[process]++
			}
			held := uint64(r.IntN(60))
			a := quota.Ask{
				Process: process, Seq: seq[process], Limit: uint64(r.IntN(4) * 33), Held: held, Used: held - uint64(r.IntN(int(held)+1)),
				Want: uint64(r.IntN(120)),
			}
			at := time.Duration(now/1000) * time.Millisecond
			want := table.Renew(at, a)
			if got := must(t, s, command.Quota(id, a), nil); got.Answer != want || got.Now != at {
				t.Fatalf("seed %d, step %d, %+v: the script gives %+v, the rule %+v", seed, step, a, got, want)
			}
		}
	}
}
