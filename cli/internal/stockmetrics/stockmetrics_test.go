package stockmetrics_test

import (
	"bytes"
	"cmp"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/culvert-tunnel/culvert/cli/internal/stockmetrics"
)

func parse(t *testing.T, text io.Reader) map[string]*dto.MetricFamily {
	t.Helper()
	p := expfmt.NewTextParser(model.LegacyValidation)
	all, err := p.TextToMetricFamilies(text)
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// recorded is what the reference showed with four QUIC connections after three requests.
func recorded(t *testing.T) map[string]*dto.MetricFamily {
	t.Helper()
	b, err := os.ReadFile("testdata/metrics.txt")
	if err != nil {
		t.Fatal(err)
	}
	_, body, _ := bytes.Cut(b, []byte("\n\n")) // after status line and content type
	return parse(t, bytes.NewReader(body))
}

func table() map[string]stockmetrics.Series {
	all := map[string]stockmetrics.Series{}
	for _, s := range stockmetrics.Table() {
		all[s.Name] = s
	}
	return all
}

func labelNames(m *dto.Metric) []string {
	var names []string
	for _, l := range m.GetLabel() {
		names = append(names, l.GetName())
	}
	slices.Sort(names)
	return names
}

func bounds(h *dto.Histogram) []float64 {
	var all []float64
	for _, b := range h.GetBucket() {
		all = append(all, b.GetUpperBound())
	}
	return slices.DeleteFunc(all, func(v float64) bool { return v > 1e300 })
}

// TestTableHasWhatWasRecorded compares names, types, labels and buckets with what the reference showed.
func TestTableHasWhatWasRecorded(t *testing.T) {
	rows, seen := table(), 0
	for name, family := range recorded(t) {
		if strings.HasPrefix(name, "go_") || strings.HasPrefix(name, "process_") || strings.HasPrefix(name, "promhttp_") {
			continue // of the library
		}
		seen++
		row, ok := rows[name]
		if !ok {
			t.Errorf("%s is not in the table", name)
			continue
		}
		if row.Kind != family.GetType() {
			t.Errorf("%s is a %v, recorded as %v", name, row.Kind, family.GetType())
		}
		labels := slices.Sorted(slices.Values(row.Labels))
		for _, m := range family.GetMetric() {
			if got := labelNames(m); !slices.Equal(got, labels) {
				t.Errorf("%s has the labels %v, recorded with %v", name, labels, got)
			}
			if got := bounds(m.GetHistogram()); !slices.Equal(got, row.Buckets) {
				t.Errorf("%s has the buckets %v, recorded with %v", name, row.Buckets, got)
			}
		}
	}
	if seen < 35 {
		t.Errorf("only %d families recorded", seen)
	}
}

var (
	specRow = regexp.MustCompile(`(?m)^\| ((?:[a-z_]+(?:, )?)+) \| ([a-z, ]+) \| ([a-z_A-Z, –]+) \|`)
	ourRow  = regexp.MustCompile("(?m)^\\| `(culvert_[a-z0-9_]+)` \\| ([a-z]+) \\| ([^|]*) \\|")
)

// TestTableIsThatOfTheSpecification compares the table with the one in docs/spec/lifecycle.md 10.3, both ways.
func TestTableIsThatOfTheSpecification(t *testing.T) {
	b, err := os.ReadFile("../../../docs/spec/lifecycle.md")
	if err != nil {
		t.Fatal(err)
	}
	_, text, _ := strings.Cut(string(b), "### 10.3 ")
	text, _, _ = strings.Cut(text, "### 10.4 ")
	rows, named := table(), map[string]bool{}
	for _, m := range specRow.FindAllStringSubmatch(text, -1) {
		kinds := strings.Split(m[2], ", ")
		var labels []string
		if m[3] != "–" {
			labels = strings.Split(m[3], ", ")
		}
		for i, name := range strings.Split(m[1], ", ") {
			named[name] = true
			row, ok := rows[name]
			if !ok {
				t.Errorf("%s of the specification is not in the table", name)
				continue
			}
			kind := kinds[0]
			if i < len(kinds) && (kinds[i] == "gauge" || kinds[i] == "counter" || kinds[i] == "histogram") {
				kind = kinds[i]
			}
			if got := strings.ToLower(row.Kind.String()); got != kind {
				t.Errorf("%s is a %s, in the specification a %s", name, got, kind)
			}
			if got := slices.Sorted(slices.Values(row.Labels)); !slices.Equal(got, slices.Sorted(slices.Values(labels))) {
				t.Errorf("%s has the labels %v, in the specification %v", name, got, labels)
			}
		}
	}
	for name := range rows {
		if !named[name] {
			t.Errorf("%s is not in the specification", name)
		}
	}
}

// TestFiguresExist looks up each family of ours that the table uses, and each of its labels, in the generated reference.
func TestFiguresExist(t *testing.T) {
	b, err := os.ReadFile("../../../docs/reference/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	labels := map[string][]string{"culvert_build_info": {"version", "go_version", "revision"}} // constant ones
	for _, m := range ourRow.FindAllStringSubmatch(string(b), -1) {
		if _, ok := labels[m[1]]; !ok {
			labels[m[1]] = strings.Split(strings.ReplaceAll(m[3], "`", ""), ", ")
		}
	}
	for _, row := range stockmetrics.Table() {
		if len(row.From) == 0 && row.Note == "" {
			t.Errorf("%s does not exist and no note says why", row.Name)
		}
		if row.Help == "" {
			t.Errorf("%s has no help", row.Name)
		}
		for _, p := range row.From {
			known, ok := labels[p.Family]
			if !ok {
				t.Errorf("%s: there is no family %s", row.Name, p.Family)
				continue
			}
			if len(p.Labels) != len(row.Labels) {
				t.Errorf("%s: %s gives %d labels of %d", row.Name, p.Family, len(p.Labels), len(row.Labels))
			}
			for name := range p.Where {
				if !slices.Contains(known, name) {
					t.Errorf("%s: %s has no label %s", row.Name, p.Family, name)
				}
			}
			for _, name := range p.Labels {
				if !strings.HasPrefix(name, "=") && !slices.Contains(known, name) {
					t.Errorf("%s: %s has no label %s", row.Name, p.Family, name)
				}
			}
		}
	}
}

// ours is what a registry of ours might have.
const ours = `# TYPE culvert_worker_connections gauge
culvert_worker_connections 4
# TYPE culvert_worker_location gauge
culvert_worker_location{tunnel_id="t",conn_index="0",location="ams01"} 0
culvert_worker_location{tunnel_id="t",conn_index="0",location="fra02"} 1
# TYPE culvert_worker_calls_total counter
culvert_worker_calls_total{method="register_connection",result="ok"} 5
culvert_worker_calls_total{method="register_connection",result="duplicate"} 1
culvert_worker_calls_total{method="register_connection",result="refused"} 2
culvert_worker_calls_total{method="register_connection",result="failed"} 3
culvert_worker_calls_total{method="update_local_configuration",result="ok"} 1
# TYPE culvert_proxy_request_errors_total counter
culvert_proxy_request_errors_total{reason="cancelled"} 7
culvert_proxy_request_errors_total{reason="dial"} 2
culvert_proxy_request_errors_total{reason="tls"} 1
# TYPE culvert_proxy_config_version gauge
culvert_proxy_config_version -1
# TYPE culvert_worker_udp_sessions gauge
culvert_worker_udp_sessions{conn_index="0",datagrams="v2"} 1
culvert_worker_udp_sessions{conn_index="1",datagrams="v2"} 2
culvert_worker_udp_sessions{conn_index="1",datagrams="v3"} 5
# TYPE culvert_worker_quic_rtt_seconds gauge
culvert_worker_quic_rtt_seconds{tunnel_id="t",conn_index="3",kind="latest"} 0.0125
# TYPE culvert_worker_quic_congestion_window_bytes gauge
culvert_worker_quic_congestion_window_bytes{tunnel_id="t",conn_index="3"} 40960
# TYPE culvert_worker_dials_total counter
culvert_worker_dials_total{reason="none",protocol="quic"} 5
culvert_worker_dials_total{reason="dial",protocol="quic"} 2
culvert_worker_dials_total{reason="none",protocol="http2"} 9
# TYPE culvert_worker_quic_sessions gauge
culvert_worker_quic_sessions{tunnel_id="t",conn_index="0"} 1
culvert_worker_quic_sessions{tunnel_id="t",conn_index="3"} 3
# TYPE culvert_proxy_udp_dropped_datagrams_total counter
culvert_proxy_udp_dropped_datagrams_total{reason="write_full"} 3
culvert_proxy_udp_dropped_datagrams_total{reason="read_failed"} 0
# TYPE culvert_worker_datagrams_dropped_total counter
culvert_worker_datagrams_dropped_total{reason="queue_full"} 4
# TYPE culvert_proxy_stream_connect_seconds histogram
culvert_proxy_stream_connect_seconds_bucket{le="0.001"} 1
culvert_proxy_stream_connect_seconds_bucket{le="0.0025"} 2
culvert_proxy_stream_connect_seconds_bucket{le="0.01"} 3
culvert_proxy_stream_connect_seconds_bucket{le="0.025"} 4
culvert_proxy_stream_connect_seconds_bucket{le="0.05"} 5
culvert_proxy_stream_connect_seconds_bucket{le="0.1"} 6
culvert_proxy_stream_connect_seconds_bucket{le="0.5"} 7
culvert_proxy_stream_connect_seconds_bucket{le="1"} 8
culvert_proxy_stream_connect_seconds_bucket{le="5"} 9
culvert_proxy_stream_connect_seconds_bucket{le="+Inf"} 10
culvert_proxy_stream_connect_seconds_sum 12.5
culvert_proxy_stream_connect_seconds_count 10
`

// want is what the reference's families must be then; help lines are left out.
const want = `# TYPE cloudflared_config_local_config_pushes counter
cloudflared_config_local_config_pushes 1
# TYPE cloudflared_config_local_config_pushes_errors counter
cloudflared_config_local_config_pushes_errors 0
# TYPE cloudflared_orchestration_config_version gauge
cloudflared_orchestration_config_version 0
# TYPE cloudflared_proxy_connect_latency histogram
cloudflared_proxy_connect_latency_bucket{le="1"} 1
cloudflared_proxy_connect_latency_bucket{le="10"} 3
cloudflared_proxy_connect_latency_bucket{le="25"} 4
cloudflared_proxy_connect_latency_bucket{le="50"} 5
cloudflared_proxy_connect_latency_bucket{le="100"} 6
cloudflared_proxy_connect_latency_bucket{le="500"} 7
cloudflared_proxy_connect_latency_bucket{le="1000"} 8
cloudflared_proxy_connect_latency_bucket{le="5000"} 9
cloudflared_proxy_connect_latency_bucket{le="+Inf"} 10
cloudflared_proxy_connect_latency_sum 12500
cloudflared_proxy_connect_latency_count 10
# TYPE cloudflared_tunnel_ha_connections gauge
cloudflared_tunnel_ha_connections 4
# TYPE cloudflared_tunnel_request_errors counter
cloudflared_tunnel_request_errors 3
# TYPE cloudflared_tunnel_server_locations gauge
cloudflared_tunnel_server_locations{connection_id="0",edge_location="ams01"} 0
cloudflared_tunnel_server_locations{connection_id="0",edge_location="fra02"} 1
# TYPE cloudflared_tunnel_total_requests counter
cloudflared_tunnel_total_requests 0
# TYPE cloudflared_tunnel_tunnel_register_fail counter
cloudflared_tunnel_tunnel_register_fail{error="dup_edge_conn",rpcName="registerConnection"} 1
cloudflared_tunnel_tunnel_register_fail{error="server_error",rpcName="registerConnection"} 5
# TYPE cloudflared_tunnel_tunnel_register_success counter
cloudflared_tunnel_tunnel_register_success{rpcName="registerConnection"} 5
# TYPE cloudflared_udp_active_flows gauge
cloudflared_udp_active_flows{conn_index="1"} 5
# TYPE cloudflared_udp_active_sessions gauge
cloudflared_udp_active_sessions 3
# TYPE cloudflared_udp_dropped_datagrams counter
cloudflared_udp_dropped_datagrams{conn_index="",reason="write_full"} 7
# TYPE quic_client_closed_connections counter
quic_client_closed_connections 3
# TYPE quic_client_congestion_state gauge
quic_client_congestion_state{conn_index="3"} -1
# TYPE quic_client_congestion_window gauge
quic_client_congestion_window{conn_index="3"} 40960
# TYPE quic_client_latest_rtt gauge
quic_client_latest_rtt{conn_index="3"} 12.5
# TYPE quic_client_total_connections counter
quic_client_total_connections 7
`

func TestFamiliesAreMadeOfOurs(t *testing.T) {
	own := parse(t, strings.NewReader(ours))
	families, err := stockmetrics.Gatherer(prometheus.GathererFunc(func() ([]*dto.MetricFamily, error) {
		var list []*dto.MetricFamily
		for _, f := range own {
			list = append(list, f)
		}
		return list, nil
	})).Gather()
	if err != nil {
		t.Fatal(err)
	}
	if !slices.IsSortedFunc(families, func(a, b *dto.MetricFamily) int { return cmp.Compare(a.GetName(), b.GetName()) }) {
		t.Error("the families are not in order")
	}
	wanted := parse(t, strings.NewReader(want))
	var got strings.Builder
	for _, f := range families {
		if _, ok := wanted[f.GetName()]; !ok {
			continue
		}
		f.Help = nil
		if _, err := expfmt.MetricFamilyToText(&got, f); err != nil {
			t.Fatal(err)
		}
	}
	if got.String() != want {
		t.Errorf("families:\n%s\nwant:\n%s", got.String(), want)
	}
}

// TestHandlerShowsBoth asks for the page of a registry that has nothing but a quick tunnel.
func TestHandlerShowsBoth(t *testing.T) {
	reg := prometheus.NewRegistry()
	stockmetrics.QuickTunnel(reg, "https://a.example.com")
	w := httptest.NewRecorder()
	stockmetrics.Handler(reg).ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", http.NoBody))
	for _, line := range []string{
		`culvert_quick_tunnel_info{url="https://a.example.com"} 1`,
		`cloudflared_tunnel_user_hostnames_counts{userHostname="https://a.example.com"} 1`,
		`cloudflared_tunnel_ha_connections 0`, `promhttp_metric_handler_requests_in_flight 1`,
	} {
		if !strings.Contains(w.Body.String(), line+"\n") {
			t.Errorf("no line %s in\n%s", line, w.Body)
		}
	}
}
