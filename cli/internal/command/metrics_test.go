package command_test

import (
	"net/http"
	"strings"
	"testing"
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
