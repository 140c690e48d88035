package flow_test

import (
	"log/slog"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/culvert-tunnel/culvert/services/proxy/internal/flow"
	"github.com/culvert-tunnel/culvert/services/proxy/internal/opener"
	"github.com/culvert-tunnel/culvert/services/proxy/internal/router"
)

// TestRefusalsAreCountedByReason: an operator tells a visitor who is too fast from one who may not come in.
func TestRefusalsAreCountedByReason(t *testing.T) {
	log := slog.New(slog.DiscardHandler)
	table, err := router.New(compile(t, `
ingress:
  - {service: 'http_status:204', path: ^/fast, actions: {limits: {rate: 0.001, burst: 1}}}
  - {service: 'http_status:204', path: ^/in, actions: {ipRules: [{prefix: 10.0.0.0/8, allow: true}]}}
  - {service: 'http_status:204', path: ^/large, actions: {maxBody: 1}}
  - service: http_status:404
`), opener.New(log, nil))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(table.Close)
	reg := prometheus.NewRegistry()
	h := newHandler(flow.Config{}, table, log, reg)
	for _, ask := range []struct{ method, path, length, want string }{
		{"GET", "/fast", "", "204"}, {"GET", "/fast", "", "429"}, {"GET", "/in", "", "403"}, {"POST", "/large", "9", "413"},
	} {
		var headers []string
		if ask.length != "" {
			headers = []string{"Content-Length: " + ask.length}
		}
		if a := do(t, h, get(ask.method, ask.path, headers...), ""); a.status != ask.want {
			t.Errorf("%s: status %s, want %s", ask.path, a.status, ask.want)
		}
	}
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]float64{}
	for _, f := range families {
		if f.GetName() == "culvert_proxy_request_errors_total" {
			for _, m := range f.GetMetric() {
				got[m.GetLabel()[0].GetValue()] = m.GetCounter().GetValue()
			}
		}
	}
	for reason, want := range map[string]float64{"rule_rate": 1, "denied": 1, "too_large": 1, "rule_in_flight": 0, "rule_passwords": 0} {
		if n, there := got[reason]; !there || n != want {
			t.Errorf("reason %s: %v, want %v", reason, n, want)
		}
	}
}
