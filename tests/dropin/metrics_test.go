//go:build dropin

package dropin_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/culvert-tunnel/culvert/pkg/testkit"
	"github.com/culvert-tunnel/culvert/services/edge/adminclient"
	"github.com/culvert-tunnel/culvert/tests/harness"
)

// recordedMetrics is the page of the stock connector with four QUIC connections, after three requests.
const recordedMetrics = "../../cli/internal/stockmetrics/testdata/metrics.txt"

// tunnelName is the tunnel that the harness makes.
const tunnelName = "peer"

type families map[string]*dto.MetricFamily

func parseMetrics(t *testing.T, text string) families {
	t.Helper()
	p := expfmt.NewTextParser(model.LegacyValidation)
	all, err := p.TextToMetricFamilies(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func (c *connector) metricFamilies(t *testing.T) families {
	t.Helper()
	status, text := c.get(t, "/metrics")
	if status != http.StatusOK {
		t.Fatalf("/metrics: %d %s", status, text)
	}
	return parseMetrics(t, text)
}

// value is the sum of the series of a family that have the labels, given as name=value; -1 without such series.
func (f families) value(name string, labels ...string) float64 {
	sum, found := 0.0, false
	for _, m := range f[name].GetMetric() {
		var has []string
		for _, l := range m.GetLabel() {
			has = append(has, l.GetName()+"="+l.GetValue())
		}
		if slices.ContainsFunc(labels, func(l string) bool { return !slices.Contains(has, l) }) {
			continue
		}
		found = true
		sum += m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
	}
	if !found {
		return -1
	}
	return sum
}

// absentFamilies are recorded families that ours does not have, and why.
func absentFamilies() map[string]string {
	const frames = "a transport that reports every packet costs every request time"
	return map[string]string{
		"quic_client_sent_frames": frames, "quic_client_received_frames": frames,
		"quic_client_max_udp_payload": "the limit of the edge is no figure of the path; quic_client_mtu is the size in use",
	}
}

// TestMetricFamilies: dashboards and alerts select series by name and label.
func TestMetricFamilies(t *testing.T) {
	b, err := os.ReadFile(recordedMetrics)
	if err != nil {
		t.Fatal(err)
	}
	_, body, _ := bytes.Cut(b, []byte("\n\n"))
	recorded := parseMetrics(t, string(body))
	e := harness.StartEdge(t)
	each(t, func(t *testing.T, s subject) {
		c := s.connect(t, e, "--protocol", "quic", "--grace-period", "1s")
		if status, text := page(t, e, "a.example.com"); status != http.StatusOK {
			t.Fatalf("page: %d %s", status, text)
		}
		got := c.metricFamilies(t)
		for name, family := range recorded {
			ours := got[name]
			if why, ok := absentFamilies()[name]; ok {
				if want := either(t, s, "no "+name, name, why); (ours == nil) == (want == name) {
					t.Errorf("%s: present %v, want %s", name, ours != nil, want)
				}
				continue
			}
			if ours == nil {
				if len(family.GetMetric()[0].GetLabel()) == 0 || !strings.HasPrefix(name, "quic_") {
					t.Errorf("%s is missing", name)
				}
				continue
			}
			if ours.GetType() != family.GetType() {
				t.Errorf("%s is a %v, recorded as %v", name, ours.GetType(), family.GetType())
			}
			if a, b := names(ours), names(family); !slices.Equal(a, b) {
				t.Errorf("%s has the labels %v, recorded with %v", name, a, b)
			}
		}
	})
}

func names(f *dto.MetricFamily) []string {
	var all []string
	for _, l := range f.GetMetric()[0].GetLabel() {
		all = append(all, l.GetName())
	}
	slices.Sort(all)
	return all
}

// traffic is what one run of TestDashboardSeries sends through a connector.
type traffic struct {
	edge   *harness.Edge
	origin *httptest.Server
	held   chan struct{} // a request to /hold is at the origin
	let    chan struct{} // /hold may go on
}

func newTraffic(t *testing.T) *traffic {
	tr := &traffic{edge: harness.StartEdge(t), held: make(chan struct{}), let: make(chan struct{})}
	tr.origin = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/missing":
			w.WriteHeader(http.StatusNotFound)
		case "/broken":
			panic(http.ErrAbortHandler)
		case "/leave":
			tr.held <- struct{}{}
			<-r.Context().Done()
		case "/hold":
			tr.held <- struct{}{}
			<-tr.let
		}
		_, _ = io.WriteString(w, strings.Repeat("x", 2000))
	}))
	t.Cleanup(tr.origin.Close)
	return tr
}

// leave sends a request and goes away when it is at the origin.
func (tr *traffic) leave(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, tr.edge.URL+"/leave", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	left := make(chan error, 1)
	go func() {
		resp, err := http.DefaultClient.Do(req)
		if err == nil {
			err = fmt.Errorf("a response: %w", resp.Body.Close())
		}
		left <- err
	}()
	<-tr.held
	cancel()
	if err := <-left; !errors.Is(err, context.Canceled) {
		t.Errorf("the request that was cancelled: %v", err)
	}
}

func (tr *traffic) send(t *testing.T, method, path string) int {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, tr.edge.URL+path, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode
}

// TestDashboardSeries sends the same traffic through ours and stock and compares the series that dashboards show most.
func TestDashboardSeries(t *testing.T) {
	each(t, func(t *testing.T, s subject) {
		for _, protocol := range []string{"quic", "http2"} {
			t.Run(protocol, func(t *testing.T) { dashboardSeries(t, s, protocol) })
		}
	})
}

func dashboardSeries(t *testing.T, s subject, protocol string) {
	t.Helper()
	tr := newTraffic(t)
	c := s.connect(t, tr.edge, "--protocol", protocol, "--url", tr.origin.URL, "--grace-period", "1s")
	for range 20 {
		tr.send(t, http.MethodGet, "/")
	}
	for range 3 {
		tr.send(t, http.MethodGet, "/missing")
	}
	tr.send(t, http.MethodPost, "/broken") // not repeated by anybody
	held := make(chan int, 1)
	go func() { held <- tr.send(t, http.MethodGet, "/hold") }()
	<-tr.held
	// The requests before it count until their streams have ended, which may be after their responses.
	testkit.Retry(t, "the held request alone in flight", patience, func() error {
		if n := c.metricFamilies(t).value("cloudflared_tunnel_concurrent_requests_per_tunnel"); n != 1 {
			return fmt.Errorf("%v requests", n)
		}
		return nil
	})
	close(tr.let)
	if status := <-held; status != http.StatusOK {
		t.Errorf("held request: %d", status)
	}
	tr.leave(t)
	tcp := privatePort(t, tr, "tcp")
	defer tcp.Close()
	echoed(t, tcp)
	if protocol == "quic" {
		udp := privatePort(t, tr, "udp")
		defer udp.Close()
		echoed(t, udp)
	}

	var after families
	testkit.Retry(t, "no request in flight but the TCP stream", patience, func() error {
		after = c.metricFamilies(t)
		if n := after.value("cloudflared_tunnel_concurrent_requests_per_tunnel"); n != 1 {
			return fmt.Errorf("%v requests", n)
		}
		return nil
	})
	checkSeries(t, s, after)
	if protocol == "quic" {
		checkQUICSeries(t, s, after)
	}
}

// checkSeries compares the figures after the traffic of TestDashboardSeries.
func checkSeries(t *testing.T, s subject, f families) {
	t.Helper()
	f.expect(t, []figure{
		{"cloudflared_tunnel_ha_connections", nil, connections},
		{"cloudflared_tunnel_total_requests", nil, 27},
		{"cloudflared_tunnel_request_errors", nil, either(t, s, 1., 2., "a visitor that leaves is no failure of the origin")},
		{"cloudflared_tunnel_response_by_code", []string{"status_code=200"}, 21},
		{"cloudflared_tunnel_response_by_code", []string{"status_code=404"}, 3},
		{"cloudflared_tunnel_response_by_code", []string{"status_code=502"}, -1}, // the connector's own
		{"cloudflared_tunnel_server_locations", []string{"edge_location=local"}, connections},
		{"cloudflared_tunnel_tunnel_register_success", []string{"rpcName=registerConnection"}, connections},
		{"cloudflared_tunnel_tunnel_register_fail", nil, -1},
		{"cloudflared_tcp_active_sessions", nil, 1},
		{"cloudflared_tcp_total_sessions", nil, 1},
		{"cloudflared_proxy_connect_latency", nil, 1},
		{"cloudflared_proxy_connect_streams_errors", nil, 0},
		{"cloudflared_rpc_client_latency_secs", []string{"method=register_connection"}, connections},
		{"cloudflared_config_local_config_pushes", nil, 1},
		{"cloudflared_orchestration_config_version", nil, 0},
		{"build_info", nil, 1},
	})
	for _, name := range []string{"process_resident_memory_bytes", "process_cpu_seconds_total", "process_open_fds", "go_goroutines"} {
		if f.value(name) <= 0 {
			t.Errorf("%s = %v", name, f.value(name))
		}
	}
}

// figure is what the series of a family with some labels must add up to; -1 is none.
type figure struct {
	name   string
	labels []string
	want   float64
}

func (f families) expect(t *testing.T, rows []figure) {
	t.Helper()
	for _, row := range rows {
		if got := f.value(row.name, row.labels...); got != row.want {
			t.Errorf("%s%v = %v, want %v", row.name, row.labels, got, row.want)
		}
	}
}

// checkQUICSeries compares the figures that only QUIC has.
func checkQUICSeries(t *testing.T, s subject, f families) {
	t.Helper()
	udp := "cloudflared_udp_active_sessions"
	if f.value("cloudflared_udp_active_flows") >= 0 {
		udp = "cloudflared_udp_active_flows" // version 3 of datagrams
	}
	f.expect(t, []figure{
		{udp, nil, 1},
		{strings.Replace(udp, "active", "total", 1), nil, 1},
		{"quic_client_total_connections", nil, connections},
		{"quic_client_closed_connections", nil, 0},
	})
	for i := range connections {
		label := fmt.Sprintf("conn_index=%d", i)
		if f.value("quic_client_sent_bytes", label) < 5000 || f.value("quic_client_receive_bytes", label) < 5000 {
			t.Errorf("connection %d: %v bytes sent, %v received", i, f.value("quic_client_sent_bytes", label),
				f.value("quic_client_receive_bytes", label))
		}
		for _, name := range []string{"min_rtt", "latest_rtt", "smoothed_rtt"} {
			if ms := f.value("quic_client_"+name, label); ms < 0 || ms > float64(patience/time.Millisecond) {
				t.Errorf("connection %d: %s = %v ms", i, name, ms)
			}
		}
	}
	if s.stock { // it has whole milliseconds
		return
	}
	if sum := f.value("quic_client_smoothed_rtt"); sum <= 0 {
		t.Errorf("smoothed round-trip times add up to %v ms", sum)
	}
}

// privatePort opens a port of the edge to an echo behind the connector, and connects to it.
func privatePort(t *testing.T, tr *traffic, network string) net.Conn {
	t.Helper()
	listen := fmt.Sprintf("127.0.0.1:%d", harness.FreePort(t))
	target := adminclient.PortTarget{To: startEcho(t, network)}
	if _, err := tr.edge.Admin.AddPort(t.Context(), network+"://"+listen, tunnelName, target); err != nil {
		t.Fatal(err)
	}
	conn, err := net.Dial(network, listen)
	if err != nil {
		t.Fatal(err)
	}
	return conn
}

// startEcho sends back what it gets.
func startEcho(t *testing.T, network string) (addr string) {
	t.Helper()
	if network == "udp" {
		c, err := net.ListenPacket("udp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		go func() {
			b := make([]byte, 2048)
			for {
				n, from, err := c.ReadFrom(b)
				if err != nil {
					return
				}
				_, _ = c.WriteTo(b[:n], from)
			}
		}()
		return c.LocalAddr().String()
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				_, _ = io.Copy(c, c)
			}()
		}
	}()
	return l.Addr().String()
}

func echoed(t *testing.T, c net.Conn) {
	t.Helper()
	b := make([]byte, 4)
	testkit.Retry(t, "echo", patience, func() error {
		if _, err := c.Write([]byte("ping")); err != nil {
			return err
		}
		if err := c.SetReadDeadline(time.Now().Add(time.Second)); err != nil {
			return err
		}
		_, err := io.ReadFull(c, b)
		return err
	})
	if string(b) != "ping" {
		t.Errorf("echo = %q", b)
	}
}
