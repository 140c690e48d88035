package diagnose

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/culvert-tunnel/culvert/cli/internal/precheck"
	"github.com/culvert-tunnel/culvert/pkg/edgepool"
	"github.com/culvert-tunnel/culvert/pkg/protocol"
	"github.com/culvert-tunnel/culvert/pkg/stocklog"
	"github.com/culvert-tunnel/culvert/pkg/testkit"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
	"github.com/culvert-tunnel/culvert/services/discovery"
)

func TestMain(m *testing.M) { testkit.VerifyMain(m) }

func TestVendorEdge(t *testing.T) {
	for name, tc := range map[string]struct {
		domain string
		static []string
		want   bool
	}{
		"default":               {"argotunnel.com", nil, true},
		"own domain":            {"edge.example", nil, false},
		"names of the vendor":   {"argotunnel.com", []string{"region1.v2.argotunnel.com:7844", "Region2.v2.Argotunnel.com.:7844"}, true},
		"address of the vendor": {"argotunnel.com", []string{"198.41.192.7:7844", "[2606:4700:a8::1]:7844"}, true},
		"one of them ours":      {"argotunnel.com", []string{"198.41.192.7:7844", "127.0.0.1:7844"}, false},
		"address of ours":       {"argotunnel.com", []string{"127.0.0.1:7844"}, false},
		"name like theirs":      {"argotunnel.com", []string{"notargotunnel.com:7844"}, false},
		"no address":            {"argotunnel.com", []string{"x"}, false},
	} {
		d := discovery.Default()
		d.SRV.Domain, d.Static = tc.domain, tc.static
		if got := vendorEdge(d); got != tc.want {
			t.Errorf("%s: vendorEdge = %v, want %v", name, got, tc.want)
		}
	}
}

// TestEdgeOfFlags: the checks of a bundle are for the edge of the connector, which its flags name.
func TestEdgeOfFlags(t *testing.T) {
	own := Edge{Discovery: discovery.Default(), CACert: "own.pem", IPVersion: "auto", Protocol: "auto"}
	got := own.of(map[string]string{
		"edge": "[a:1 b:2]", "cacert": "/ca.pem", "edge-ip-version": "6", "protocol": "http2", "region": "us", "post-quantum": "true",
		"edge-bind-address": "::1", "edge-dns-domain": "d.example", "edge-dns-resolver": "r:53", "logfile": "/x",
	})
	want := Edge{
		Discovery: discovery.Default(), CACert: "/ca.pem", IPVersion: "6", Protocol: "http2", PostQuantum: true, BindAddress: "::1",
	}
	want.Discovery.Static, want.Discovery.SRV.Region, want.Discovery.SRV.Domain = []string{"a:1", "b:2"}, "us", "d.example"
	want.Discovery.Resolver = "r:53"
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("of (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(own, own.of(nil)); diff != "" {
		t.Errorf("of a connector that tells nothing (-want +got):\n%s", diff)
	}
	probes := got.probes()
	if probes.Family != edgepool.V6 || probes.Asked != protocol.HTTP2 || probes.API || !probes.LocalIP.Is6() || !probes.PostQuantum {
		t.Errorf("probes = %+v", probes)
	}
	if probes := own.probes(); probes.Family != edgepool.Any || !probes.API || probes.Thorough || probes.Switchable {
		t.Errorf("probes = %+v", probes)
	}
}

// TestHeadStart: the checks wait for the first connection, but not for long.
func TestHeadStart(t *testing.T) {
	for name, tc := range map[string]struct {
		after, end, want time.Duration
	}{
		"connected before":      {0, time.Hour, 0},
		"connected soon":        {120 * time.Millisecond, time.Hour, 150 * time.Millisecond},
		"no connection":         {time.Hour, time.Hour, time.Second},
		"the process ends soon": {time.Hour, 10 * time.Millisecond, 10 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				begin := time.Now()
				ctx, cancel := context.WithTimeout(t.Context(), tc.end)
				defer cancel()
				Startup{connected: func() bool { return time.Since(begin) >= tc.after }}.wait(ctx)
				if got := time.Since(begin); got != tc.want {
					t.Errorf("waited for %v, want %v", got, tc.want)
				}
			})
		})
	}
}

// log makes a logger with lines as a connector writes them.
func log(encode stocklog.Encoder) (*slog.Logger, *bytes.Buffer) {
	var b bytes.Buffer
	return slog.New(stocklog.NewHandler(stocklog.Levels{}, stocklog.Output{Writer: &b, Encode: encode})), &b
}

// TestLogAsRecorded compares the lines with those that cloudflared 2026.8.2 wrote, with other ids and times.
func TestLogAsRecorded(t *testing.T) {
	const id = "9937b0a8-3121-4397-8b93-988f9af3fdf6"
	r := precheck.Report{RunID: id, Suggested: tunnel.QUIC, Results: []precheck.Result{
		precheck.Passed(precheck.DNS, "127.0.0.1:8490"), precheck.Passed(precheck.QUIC, "127.0.0.1:8490"),
		precheck.Passed(precheck.HTTP2, "127.0.0.1:8490"), precheck.Failed(precheck.API, precheck.APITarget, ""),
	}}
	stamp := regexp.MustCompile(`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ`)
	lines := func(encode stocklog.Encoder) []string {
		logger, b := log(encode)
		logReport(t.Context(), logger, r)
		return strings.Split(strings.TrimSpace(stamp.ReplaceAllString(b.String(), "TIME")), "\n")
	}
	console := lines(stocklog.Console(false))
	if want := "TIME INF |  COMPONENT         TARGET                  STATUS  DETAILS "; !strings.HasPrefix(console[3], want) {
		t.Errorf("line of the table\n%q, want it to begin with\n%q", console[3], want)
	}
	const run = "run_id=" + id + " "
	want := []string{
		`TIME INF precheck component="DNS Resolution" details="DNS Resolved successfully" ` + run + `status=pass target=127.0.0.1:8490`,
		`TIME INF precheck component="UDP Connectivity" details="QUIC connection successful" ` + run + `status=pass target=127.0.0.1:8490`,
		`TIME INF precheck component="TCP Connectivity" details="HTTP/2 connection successful" ` + run + `status=pass target=127.0.0.1:8490`,
		`TIME INF precheck component="Cloudflare API" details="API Connection failed" ` + run + `status=fail target=api.cloudflare.com:443`,
		`TIME INF precheck complete hard_fail=false run_id=` + id + ` suggested_protocol=quic`,
	}
	if diff := cmp.Diff(want, console[len(r.Lines()):]); diff != "" {
		t.Errorf("console (-want +got):\n%s", diff)
	}
	want = []string{
		`{"component":"Cloudflare API","details":"API Connection failed","level":"info","message":"precheck","run_id":"` + id +
			`","status":"fail","target":"api.cloudflare.com:443","time":"TIME"}`,
		`{"hard_fail":false,"level":"info","message":"precheck complete","run_id":"` + id + `","suggested_protocol":"quic","time":"TIME"}`,
	}
	sorted := lines(stocklog.SortedJSON())
	if diff := cmp.Diff(want, sorted[len(sorted)-2:]); diff != "" {
		t.Errorf("JSON (-want +got):\n%s", diff)
	}
	want = []string{`{"level":"info","run_id":"` + id + `","hard_fail":false,"suggested_protocol":"quic","time":"TIME",` +
		`"message":"precheck complete"}`}
	file := lines(stocklog.JSON())
	if diff := cmp.Diff(want, file[len(file)-1:]); diff != "" {
		t.Errorf("file (-want +got):\n%s", diff)
	}
	r.Suggested = ""
	if last := lines(stocklog.Console(false)); strings.Contains(last[len(last)-1], "suggested_protocol") {
		t.Errorf("without a protocol: %q", last[len(last)-1])
	}
}

// instance serves what a metrics listener says about its connector.
func instance(t *testing.T, connector string) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		b, err := json.Marshal(map[string]string{"tunnelID": "t1", "connectorID": connector})
		if err != nil {
			t.Error(err)
		}
		_, _ = w.Write(b) // the client may be gone
	}))
	t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

// TestFindOne: the words are those of cloudflared.
func TestFindOne(t *testing.T) {
	one, two, dead := instance(t, "c1"), instance(t, "c2"), testkit.FreeTCP(t).String()
	const first = "If your instance is running in a Docker/Kubernetes environment you need to setup port forwarding for your application."
	for name, tc := range map[string]struct {
		addresses []string
		want      string
		lines     []string
	}{
		"none": {[]string{dead}, "", []string{"INF " + first, "WRN No instances found"}},
		"one":  {[]string{dead, one}, "http://" + one, []string{"INF " + first}},
		"several": {[]string{one, dead, two}, "", []string{
			"INF " + first, "INF Found multiple instances running:", "INF Instance: tunnel-id=t1 connector-id=c1 metrics-address=http://" + one,
			"INF Instance: tunnel-id=t1 connector-id=c2 metrics-address=http://" + two, "INF To select one instance use the option --metrics",
		}},
	} {
		t.Run(name, func(t *testing.T) {
			logger, b := log(stocklog.Console(false))
			if got := findOne(t.Context(), logger, tc.addresses); got != tc.want {
				t.Errorf("findOne = %q, want %q", got, tc.want)
			}
			var lines []string
			for line := range strings.Lines(b.String()) {
				_, text, _ := strings.Cut(strings.TrimSpace(line), " ")
				lines = append(lines, text)
			}
			if diff := cmp.Diff(tc.lines, lines); diff != "" {
				t.Errorf("log (-want +got):\n%s", diff)
			}
		})
	}
	if known := knownAddresses(); len(known) != 5 || known[0] != "localhost:20241" || known[4] != "localhost:20245" {
		t.Errorf("known addresses %v", known)
	}
}
