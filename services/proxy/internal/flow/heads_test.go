package flow

import (
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

// TestHeadsByStatus keeps the responses of services apart from those of the proxy itself, and drops what is no status.
func TestHeadsByStatus(t *testing.T) {
	reg := prometheus.NewRegistry()
	m := newMetrics(reg)
	for _, status := range []int{200, 200, 204, 404, 999, 0, 1000, -1} {
		m.answered(status)
	}
	m.responded(502)
	m.responded(103)
	want := `# HELP culvert_proxy_origin_responses_total Responses of origins and other services of rules, by status.
# TYPE culvert_proxy_origin_responses_total counter
culvert_proxy_origin_responses_total{status="200"} 2
culvert_proxy_origin_responses_total{status="204"} 1
culvert_proxy_origin_responses_total{status="404"} 1
culvert_proxy_origin_responses_total{status="999"} 1
# HELP culvert_proxy_responses_total Heads sent to the edge, by class of status.
# TYPE culvert_proxy_responses_total counter
culvert_proxy_responses_total{status_class="1xx"} 1
culvert_proxy_responses_total{status_class="2xx"} 3
culvert_proxy_responses_total{status_class="3xx"} 0
culvert_proxy_responses_total{status_class="4xx"} 1
culvert_proxy_responses_total{status_class="5xx"} 1
culvert_proxy_responses_total{status_class="other"} 1
`
	names := []string{"culvert_proxy_origin_responses_total", "culvert_proxy_responses_total"}
	if err := testutil.GatherAndCompare(reg, strings.NewReader(want), names...); err != nil {
		t.Error(err)
	}
}
