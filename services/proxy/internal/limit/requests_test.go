package limit_test

import (
	"errors"
	"sync"
	"testing"

	"github.com/culvert-tunnel/culvert/pkg/tunnel"
	"github.com/culvert-tunnel/culvert/services/proxy/internal/limit"
)

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

// TestGreedyTunnelStarvesNobody lets one tunnel take all that it gets, and then three others what they ask for.
func TestGreedyTunnelStarvesNobody(t *testing.T) {
	const most = 100
	r := limit.NewRequests(most, 0)
	take := func(id tunnel.ID, want int) (places []limit.Place) {
		for range want {
			p, err := r.Acquire(id)
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

// TestRequestsUnderContention counts to zero again.
func TestRequestsUnderContention(t *testing.T) {
	const most = 8
	r := limit.NewRequests(most, 0)
	var wg sync.WaitGroup
	for i := range 32 {
		wg.Go(func() {
			for range 500 {
				if p, err := r.Acquire(tunnel.ID{byte(i % 4)}); err == nil {
					p.Release()
				}
			}
		})
	}
	wg.Wait()
	for i := range most { // one tunnel alone may have all, so all counts are zero
		if _, err := r.Acquire(tunnel.ID{9}); err != nil {
			t.Fatalf("place %d: %v", i, err)
		}
	}
	if _, err := r.Acquire(tunnel.ID{9}); !errors.Is(err, limit.ErrFull) {
		t.Errorf("beyond the limit: %v", err)
	}
}

func TestAcquireAllocatesNothing(t *testing.T) {
	r := limit.NewRequests(10, 10)
	if n := testing.AllocsPerRun(100, func() {
		p, err := r.Acquire(tunnel.ID{1})
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
		p, err := r.Acquire(tunnel.ID{1})
		if err != nil {
			b.Fatal(err)
		}
		p.Release()
	}
}
