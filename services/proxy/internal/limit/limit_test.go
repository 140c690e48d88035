package limit_test

import (
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/culvert-tunnel/culvert/pkg/tunnel"
	"github.com/culvert-tunnel/culvert/services/proxy/internal/limit"
)

var one = tunnel.ID{1}

// TestEachTunnelHasALimitOfItsOwn fills the limit of one tunnel, and checks that another one still gets places.
func TestEachTunnelHasALimitOfItsOwn(t *testing.T) {
	other := tunnel.ID{2}
	l := limit.New(func(id tunnel.ID) uint64 { return uint64(id[0]) }, nil)
	slot, err := l.Acquire(one, limit.TCP)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.Acquire(one, limit.TCP); !errors.Is(err, limit.ErrTooMany) {
		t.Errorf("at the limit: %v", err)
	}
	for range 2 {
		if _, err := l.Acquire(other, limit.TCP); err != nil {
			t.Errorf("of another tunnel: %v", err)
		}
	}
	if _, err := l.Acquire(other, limit.UDP); !errors.Is(err, limit.ErrTooMany) {
		t.Errorf("of another tunnel, at its limit: %v", err)
	}
	slot.Release()
	if _, err := l.Acquire(one, limit.TCP); err != nil {
		t.Errorf("after a release: %v", err)
	}
}

func TestFlows(t *testing.T) {
	var most atomic.Uint64
	reg := prometheus.NewRegistry()
	l := limit.New(func(tunnel.ID) uint64 { return most.Load() }, reg)
	var slots []*limit.Slot
	for range 3 { // no limit
		s, err := l.Acquire(one, limit.TCP)
		if err != nil {
			t.Fatal(err)
		}
		slots = append(slots, s)
	}
	most.Store(2)
	if _, err := l.Acquire(one, limit.UDP); !errors.Is(err, limit.ErrTooMany) {
		t.Errorf("Acquire above a lowered limit: %v", err)
	}
	slots[0].Release()
	slots[0].Release()
	if _, err := l.Acquire(one, limit.TCP); !errors.Is(err, limit.ErrTooMany) {
		t.Errorf("Acquire at the limit: %v", err)
	}
	slots[1].Release()
	s, err := l.Acquire(one, limit.UDP)
	if err != nil || l.Active() != 2 {
		t.Errorf("Acquire below the limit: %v, active %d", err, l.Active())
	}
	s.Release()
	slots[2].Release()
	(*limit.Slot)(nil).Release()
	want := `
# HELP culvert_proxy_private_flows_active Private-network flows that hold a place under the limit.
# TYPE culvert_proxy_private_flows_active gauge
culvert_proxy_private_flows_active 0
# HELP culvert_proxy_private_flows_limited_total Private-network flows refused because of the limit.
# TYPE culvert_proxy_private_flows_limited_total counter
culvert_proxy_private_flows_limited_total{flow_type="tcp"} 1
culvert_proxy_private_flows_limited_total{flow_type="udp"} 1
`
	if err := testutil.GatherAndCompare(reg, strings.NewReader(want)); err != nil {
		t.Error(err)
	}
}

func TestFlowsUnderContention(t *testing.T) {
	const most = 3
	l := limit.New(func(tunnel.ID) uint64 { return most }, nil)
	var running, peak atomic.Int64
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			for range 500 {
				s, err := l.Acquire(one, limit.TCP)
				if err != nil {
					continue
				}
				if n := running.Add(1); n > peak.Load() {
					peak.Store(n)
				}
				running.Add(-1)
				s.Release()
			}
		})
	}
	wg.Wait()
	if l.Active() != 0 || peak.Load() > most {
		t.Errorf("active %d, peak %d", l.Active(), peak.Load())
	}
}
