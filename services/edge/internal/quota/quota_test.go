package quota_test

import (
	"strings"
	"sync"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/culvert-tunnel/culvert/services/edge/internal/quota"
	"github.com/culvert-tunnel/culvert/services/edge/internal/share"
)

func TestMetricsShowUseRefusalsAndEvictions(t *testing.T) {
	t.Parallel()
	reg := prometheus.NewRegistry()
	bytes := quota.NewCounter[string](reg, "bytes", share.Limits{Total: 10, PerKey: 6})
	seats := quota.NewTable[string, int](reg, "seats", share.Limits{Total: 2})
	bytes.Take("a", 5)
	bytes.Take("a", 5)
	bytes.Take("b", 6)
	bytes.Take("b", 3)
	bytes.Give("b", 1)
	for i := range 3 {
		seats.Admit("a", i)
	}
	want := `
# HELP culvert_edge_quota_evicted_total Pending entries of a bounded resource that made room for newer ones.
# TYPE culvert_edge_quota_evicted_total counter
culvert_edge_quota_evicted_total{resource="bytes"} 0
culvert_edge_quota_evicted_total{resource="seats"} 1
# HELP culvert_edge_quota_limit Bounds of a resource: in total, and the share of one tunnel or network; 0 = none.
# TYPE culvert_edge_quota_limit gauge
culvert_edge_quota_limit{bound="share",resource="bytes"} 6
culvert_edge_quota_limit{bound="share",resource="seats"} 0
culvert_edge_quota_limit{bound="total",resource="bytes"} 10
culvert_edge_quota_limit{bound="total",resource="seats"} 2
# HELP culvert_edge_quota_refused_total Requests for a bounded resource that were refused, by the bound that was reached.
# TYPE culvert_edge_quota_refused_total counter
culvert_edge_quota_refused_total{bound="share",resource="bytes"} 1
culvert_edge_quota_refused_total{bound="share",resource="seats"} 0
culvert_edge_quota_refused_total{bound="total",resource="bytes"} 1
culvert_edge_quota_refused_total{bound="total",resource="seats"} 0
# HELP culvert_edge_quota_used Amount of a bounded resource that is in use.
# TYPE culvert_edge_quota_used gauge
culvert_edge_quota_used{resource="bytes"} 7
culvert_edge_quota_used{resource="seats"} 2
`
	if err := testutil.GatherAndCompare(reg, strings.NewReader(want), "culvert_edge_quota_evicted_total", "culvert_edge_quota_limit",
		"culvert_edge_quota_refused_total", "culvert_edge_quota_used"); err != nil {
		t.Error(err)
	}
}

func TestConcurrentUse(t *testing.T) {
	t.Parallel()
	reg := prometheus.NewRegistry()
	bytes := quota.NewCounter[int](reg, "bytes", share.Limits{Total: 50, PerKey: 20})
	seats := quota.NewTable[int, int](reg, "seats", share.Limits{Total: 5, PerKey: 2})
	var wg sync.WaitGroup
	for k := range 8 {
		wg.Go(func() {
			for range 200 {
				if bytes.Take(k, 7) == share.Granted {
					bytes.Give(k, 7)
				}
				if e, _, _ := seats.Admit(k, 0); e != nil {
					seats.Pin(e)
					seats.Unpin(e)
					seats.Leave(e)
				}
			}
		})
	}
	wg.Wait()
	if bytes.Total() != 0 || seats.Len() != 0 {
		t.Errorf("%d bytes and %d seats are still taken", bytes.Total(), seats.Len())
	}
}
