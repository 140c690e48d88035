package actions_test

import (
	"net/netip"
	"testing"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/ingress"
	"github.com/culvert-tunnel/culvert/services/proxy/internal/actions"
)

func addr(n int) netip.Addr {
	return netip.AddrFrom4([4]byte{10, byte(n >> 16), byte(n >> 8), byte(n)})
}

func TestLimiter(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	l := actions.NewLimiter(ingress.Limits{
		All: ingress.Limit{InFlight: 3}, Each: ingress.Limit{InFlight: 2, Rate: 1, Burst: 3},
	})
	enter := func(who int, want actions.Verdict) func() {
		t.Helper()
		v, leave := l.Enter(addr(who), now)
		if v != want || (leave != nil) != (v == actions.Pass) {
			t.Errorf("visitor %d: verdict %d, want %d", who, v, want)
		}
		return leave
	}
	first, second := enter(1, actions.Pass), enter(1, actions.Pass)
	enter(1, actions.TooMany)
	third := enter(2, actions.Pass)
	enter(3, actions.TooMany) // all places of the rule are taken
	first()
	second()
	enter(1, actions.Pass)()
	enter(1, actions.TooFast) // three requests in this second
	now = now.Add(time.Second)
	enter(1, actions.Pass)()
	third()
}

// TestRefusedRequestsTakeNothing: a request that one limit refuses does not count for the other.
func TestRefusedRequestsTakeNothing(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	l := actions.NewLimiter(ingress.Limits{All: ingress.Limit{Rate: 1, Burst: 2}, Each: ingress.Limit{InFlight: 1}})
	_, leave := l.Enter(addr(1), now)
	for range 10 {
		if v, _ := l.Enter(addr(1), now); v != actions.TooMany {
			t.Fatalf("verdict %d", v)
		}
	}
	if v, _ := l.Enter(addr(2), now); v != actions.Pass {
		t.Errorf("verdict %d for another visitor: refused requests have used up the rate", v)
	}
	leave()
}

func TestTableOfClientsIsBounded(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	l := actions.NewLimiter(ingress.Limits{Each: ingress.Limit{Rate: 1e-3, Burst: 1}})
	const most = 8192
	for i := range most + 1 {
		if v, _ := l.Enter(addr(i), now); v != actions.Pass {
			t.Fatalf("visitor %d: verdict %d", i, v)
		}
	}
	if v, _ := l.Enter(addr(most), now); v != actions.TooFast {
		t.Errorf("the last visitor: verdict %d", v)
	}
	if v, _ := l.Enter(addr(0), now); v != actions.Pass {
		t.Errorf("the first visitor, which was forgotten: verdict %d", v)
	}
	if actions.NewLimiter(ingress.Limits{}) != nil {
		t.Error("a limiter without limits")
	}
}
