package limit_test

import (
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/tunnel"
	"github.com/culvert-tunnel/culvert/services/proxy/internal/limit"
)

// later is a time when only those want places that have some.
var later = time.Now().Add(time.Hour)

func TestAdmit(t *testing.T) {
	for name, tc := range map[string]struct {
		use  limit.Use
		want error
	}{
		"no limits":                            {limit.Use{Total: 1000, Own: 999, Tunnels: 2}, nil},
		"the last place":                       {limit.Use{Total: 100, Max: 100, Own: 100, Tunnels: 1}, nil},
		"beyond the last place":                {limit.Use{Total: 101, Max: 100, Own: 1, Tunnels: 5}, limit.ErrFull},
		"the last place of a tunnel":           {limit.Use{Total: 10, Max: 100, Own: 10, PerTunnel: 10, Tunnels: 1}, nil},
		"beyond the last place of a tunnel":    {limit.Use{Total: 11, Max: 100, Own: 11, PerTunnel: 10, Tunnels: 1}, limit.ErrTunnelFull},
		"the same without a limit for all":     {limit.Use{Total: 11, Own: 11, PerTunnel: 10, Tunnels: 1}, limit.ErrTunnelFull},
		"greedy below three quarters":          {limit.Use{Total: 75, Max: 100, Own: 70, Tunnels: 2}, nil},
		"greedy above three quarters":          {limit.Use{Total: 76, Max: 100, Own: 70, Tunnels: 2}, limit.ErrTunnelFull},
		"another above three quarters":         {limit.Use{Total: 99, Max: 100, Own: 30, Tunnels: 2}, nil},
		"equal share above three quarters":     {limit.Use{Total: 99, Max: 100, Own: 50, Tunnels: 2}, nil},
		"first place with more tunnels":        {limit.Use{Total: 99, Max: 100, Own: 1, Tunnels: 500}, nil},
		"second place with more tunnels":       {limit.Use{Total: 99, Max: 100, Own: 2, Tunnels: 500}, limit.ErrTunnelFull},
		"a limit that refuses everything":      {limit.Use{Total: 1, Max: -1, Own: 1, Tunnels: 1}, limit.ErrFull},
		"few places: nothing is kept for many": {limit.Use{Total: 3, Max: 3, Own: 2, Tunnels: 1}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			if got := limit.Admit(tc.use); !errors.Is(got, tc.want) || (got == nil) != (tc.want == nil) {
				t.Errorf("Admit(%+v) = %v, want %v", tc.use, got, tc.want)
			}
		})
	}
}

func TestAdmitRule(t *testing.T) {
	for name, tc := range map[string]struct {
		use  limit.Use
		want error
	}{
		"no limits":                           {limit.Use{Total: 1000, Own: 1000, Rule: 999, Rules: 2, Tunnels: 1}, nil},
		"the only rule":                       {limit.Use{Total: 100, Max: 100, Own: 100, Rule: 100, Rules: 1, Tunnels: 1}, nil},
		"greedy below three quarters":         {limit.Use{Total: 75, Max: 100, Own: 75, Rule: 74, Rules: 2, Tunnels: 1}, nil},
		"greedy above three quarters":         {limit.Use{Total: 76, Max: 100, Own: 76, Rule: 75, Rules: 2, Tunnels: 1}, limit.ErrRuleFull},
		"another above three quarters":        {limit.Use{Total: 99, Max: 100, Own: 99, Rule: 24, Rules: 2, Tunnels: 1}, nil},
		"with another tunnel":                 {limit.Use{Total: 76, Max: 100, Own: 40, Rule: 30, Rules: 2, Tunnels: 2}, limit.ErrRuleFull},
		"with another tunnel, an equal share": {limit.Use{Total: 76, Max: 100, Own: 40, Rule: 25, Rules: 2, Tunnels: 2}, nil},
		"the tunnel's places below a quarter": {limit.Use{Total: 15, Max: 100, Own: 15, PerTunnel: 20, Rule: 14, Rules: 2, Tunnels: 1}, nil},
		"the tunnel's places above a quarter": {
			limit.Use{Total: 16, Max: 100, Own: 16, PerTunnel: 20, Rule: 15, Rules: 2, Tunnels: 1}, limit.ErrRuleFull,
		},
		"first place with more rules":          {limit.Use{Total: 99, Max: 100, Own: 99, Rule: 1, Rules: 500, Tunnels: 1}, nil},
		"a tunnel that is alone with one rule": {limit.Use{Total: 90, Max: 100, Own: 90, Rule: 90, Rules: 0, Tunnels: 1}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			if got := limit.AdmitRule(tc.use); !errors.Is(got, tc.want) || (got == nil) != (tc.want == nil) {
				t.Errorf("AdmitRule(%+v) = %v, want %v", tc.use, got, tc.want)
			}
		})
	}
}

// TestGreedyTunnelStarvesNobody lets one tunnel take all that it gets, and then three others what they ask for.
func TestGreedyTunnelStarvesNobody(t *testing.T) {
	const most = 100
	r := limit.NewRequests(most, 0)
	take := func(id tunnel.ID, want int) (places []limit.Place) {
		for range want {
			p, err := r.Acquire(id, time.Now())
			if err != nil {
				break
			}
			places = append(places, p)
		}
		return places
	}
	light := take(tunnel.ID{2}, 1)
	greedy := take(tunnel.ID{1}, 2*most)
	if n := len(greedy); n != 74 {
		t.Errorf("the greedy tunnel has %d places, want three quarters of all together", n)
	}
	for i := range 3 {
		if n := len(take(tunnel.ID{byte(3 + i)}, 8)); n != 8 {
			t.Errorf("tunnel %d has %d places of the 8 that it wants", 3+i, n)
		}
	}
	if n := len(take(tunnel.ID{1}, 1)); n != 0 {
		t.Error("the greedy tunnel got a further place")
	}
	for _, p := range append(greedy, light...) {
		p.Release()
	}
	if n := len(take(tunnel.ID{1}, 20)); n != 20 {
		t.Errorf("the greedy tunnel has %d places after it gave all back", n)
	}
}

// TestATunnelWithoutARequestKeepsItsPlaces for a while: quick requests are not in progress most of the time.
func TestATunnelWithoutARequestKeepsItsPlaces(t *testing.T) {
	const most = 100
	r, now := limit.NewRequests(most, 0), time.Now()
	take := func(id byte, after time.Duration) int {
		n := 0
		for ; ; n++ {
			if _, err := r.Acquire(tunnel.ID{id}, now.Add(after)); err != nil {
				return n
			}
		}
	}
	p, err := r.Acquire(tunnel.ID{2}, now)
	if err != nil {
		t.Fatal(err)
	}
	p.Release()
	if n := take(1, 30*time.Second); n != 75 {
		t.Errorf("the greedy tunnel has %d places while another one was there recently, want 75", n)
	}
	if n := take(1, 2*time.Minute); n != 25 {
		t.Errorf("the greedy tunnel got %d further places when nobody wanted them any more, want 25", n)
	}
}

// TestRequestsUnderContention counts to zero again.
func TestRequestsUnderContention(t *testing.T) {
	const most = 8
	r := limit.NewRequests(most, 0)
	var wg sync.WaitGroup
	for i := range 32 {
		wg.Go(func() {
			for range 500 {
				if p, err := r.Acquire(tunnel.ID{byte(i % 4)}, time.Now()); err == nil {
					p.Release()
				}
			}
		})
	}
	wg.Wait()
	for i := range most { // one tunnel alone may have all, so all counts are zero
		if _, err := r.Acquire(tunnel.ID{9}, later); err != nil {
			t.Fatalf("place %d: %v", i, err)
		}
	}
	if _, err := r.Acquire(tunnel.ID{9}, later); !errors.Is(err, limit.ErrFull) {
		t.Errorf("beyond the limit: %v", err)
	}
}

func TestAcquireAllocatesNothing(t *testing.T) {
	r := limit.NewRequests(10, 10)
	if n := testing.AllocsPerRun(100, func() {
		p, err := r.Acquire(tunnel.ID{1}, later)
		if err != nil {
			t.Fatal(err)
		}
		p.Release()
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkAcquire(b *testing.B) {
	r := limit.NewRequests(1000, 0)
	b.ReportAllocs()
	for b.Loop() {
		p, err := r.Acquire(tunnel.ID{1}, later)
		if err != nil {
			b.Fatal(err)
		}
		p.Release()
	}
}
