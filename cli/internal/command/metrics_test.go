package command_test

import (
	"math"
	"net/http"
	"slices"
	"strings"
	"testing"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/culvert-tunnel/culvert/cli/internal/stockmetrics"
	"github.com/culvert-tunnel/culvert/pkg/testkit"
)

// TestMetricsOnAnOpenAddressAllowServiceNames scrapes a listener on all addresses by a name, as Prometheus does in compose.
func TestMetricsOnAnOpenAddressAllowServiceNames(t *testing.T) {
	for listen, want := range map[string]int{"0.0.0.0:0": http.StatusOK, "127.0.0.1:0": http.StatusForbidden} {
		p := start(t, nil, "up", "--listen", "127.0.0.1:0", "--metrics", listen)
		private := strings.TrimSuffix(p.line(t, "Private:"), "/readyz")
		if status, body := fetch(t, client(t), private+"/metrics", "connector:2000"); status != want {
			t.Errorf("--metrics %s: GET /metrics = %d %.80s, want %d", listen, status, body, want)
		}
		p.stop(t)
	}
}

// TestStockFamiliesOfARunningConnector looks for the families of the reference on the page of a connector, and for the bounds of its
// histograms among those of ours.
func TestStockFamiliesOfARunningConnector(t *testing.T) {
	e, metrics := startEdge(t), testkit.FreeTCP(t).String()
	start(t, []string{"TUNNEL_TOKEN=" + e.token, "TUNNEL_METRICS=" + metrics}, append(e.flags(), "run", "--hello-world")...)
	c := client(t)
	var all map[string]*dto.MetricFamily
	testkit.Eventually(t, "four connections, each with its location", func() bool {
		status, body := fetch(t, c, "http://"+metrics+"/metrics", "")
		p := expfmt.NewTextParser(model.LegacyValidation)
		found, err := p.TextToMetricFamilies(strings.NewReader(body))
		all = found
		return status == http.StatusOK && err == nil &&
			all["cloudflared_tunnel_ha_connections"].GetMetric()[0].GetGauge().GetValue() == 4 &&
			len(all["cloudflared_tunnel_server_locations"].GetMetric()) == 4
	})
	for _, row := range stockmetrics.Table() {
		if len(row.Labels) == 0 && all[row.Name] == nil {
			t.Errorf("%s is missing", row.Name)
		}
		for _, part := range row.From {
			for _, bound := range row.Buckets {
				if h := all[part.Family]; h != nil && !hasBound(h, bound/part.Factor) && !hasBound(h, bound) {
					t.Errorf("%s has the bound %v, which %s has not", row.Name, bound, part.Family)
				}
			}
		}
	}
}

func hasBound(f *dto.MetricFamily, bound float64) bool {
	return slices.ContainsFunc(f.GetMetric()[0].GetHistogram().GetBucket(), func(b *dto.Bucket) bool {
		return math.Abs(b.GetUpperBound()-bound) < 1e-9
	})
}
