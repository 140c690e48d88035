//go:build dropin

package dropin_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/culvert-tunnel/culvert/tests/harness"
)

// TestEndpoints: tools read these paths of the metrics listener.
func TestEndpoints(t *testing.T) {
	e := harness.StartEdge(t)
	each(t, func(t *testing.T, s subject) {
		c := s.connect(t, e, "--grace-period", "1s", "--protocol", "quic")
		text := func(path string) string {
			t.Helper()
			resp := c.response(t, path)
			defer resp.Body.Close()
			b, err := io.ReadAll(resp.Body)
			if ct := resp.Header.Get("Content-Type"); err != nil || resp.StatusCode != http.StatusOK || ct != "text/plain; charset=utf-8" {
				t.Errorf("%s: %d %s %v", path, resp.StatusCode, ct, err)
			}
			return string(b)
		}
		if got := text("/healthcheck"); got != "OK\n" {
			t.Errorf("/healthcheck = %q", got)
		}
		if got := text("/quicktunnel"); got != `{"hostname":""}` {
			t.Errorf("/quicktunnel = %q", got)
		}
		if got := text("/config"); got != helloConfig {
			t.Errorf("/config = %s\nwant %s", got, helloConfig)
		}
		checkDiag(t, s, c, text)
		for path, want := range map[string]int{
			"/debug/pprof/": 200, "/debug/pprof/cmdline": 403, "/debug/pprof/heap": 200, "/debug/pprof/goroutine?debug=1": 200,
			"/debug/pprof/profile?seconds=1": 200, "/debug/pprof/trace?seconds=0.1": 200, "/debug/requests": 200, "/debug/events": 200,
			"/nothing": 404,
		} {
			if status, _ := c.get(t, path); status != want {
				t.Errorf("%s: %d, want %d", path, status, want)
			}
		}
		foreign := c.request(t, "/debug/pprof/heap", func(r *http.Request) { r.Header.Set("Sec-Fetch-Site", "cross-site") })
		want := either(t, s, 403, 200, "a page in a browser cannot start profiles of this host")
		if foreign != want {
			t.Errorf("profile for a page of another site: %d, want %d", foreign, want)
		}
		rebound := c.request(t, "/config", func(r *http.Request) { r.Host = "evil.example" })
		want = either(t, s, 403, 200, "a page whose name points to 127.0.0.1 cannot read the configuration")
		if rebound != want {
			t.Errorf("configuration for the Host of a stranger: %d, want %d", rebound, want)
		}
		if status := c.request(t, "/ready", func(r *http.Request) { r.Method = http.MethodHead }); status != http.StatusOK {
			t.Errorf("HEAD /ready: %d", status)
		}
	})
}

// request asks for a path with a request that change has changed, and returns the status.
func (c *connector) request(t *testing.T, path string, change func(*http.Request)) int {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+c.metrics+path, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	change(req)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	return resp.StatusCode
}

func checkDiag(t *testing.T, s subject, c *connector, text func(path string) string) {
	t.Helper()
	var state struct {
		TunnelID, ConnectorID string
		Connections           []struct {
			IsConnected     bool
			Protocol, Index int
			EdgeAddress     string
		}
		Sources []string `json:"icmp_sources"`
	}
	b := text("/diag/tunnel")
	if err := json.Unmarshal([]byte(b), &state); err != nil || len(state.Connections) != connections || len(state.Sources) != 2 ||
		len(state.TunnelID) != 36 || len(state.ConnectorID) != 36 {
		t.Errorf("/diag/tunnel = %s, %v", b, err)
	}
	for _, conn := range state.Connections {
		if !conn.IsConnected || conn.Protocol != 1 || conn.EdgeAddress != "127.0.0.1" {
			t.Errorf("/diag/tunnel: connection %+v", conn)
		}
	}
	var flags map[string]string
	b = text("/diag/configuration")
	if err := json.Unmarshal([]byte(b), &flags); err != nil || strings.Contains(b, "TOKEN") || flags["token"] != "" {
		t.Errorf("/diag/configuration = %s, %v", b, err)
	}
	for name, want := range map[string]string{
		"protocol": "quic", "grace-period": "1s", "hello-world": "true", "no-autoupdate": "true", "metrics": c.metrics,
		"uid": fmt.Sprint(os.Getuid()),
	} {
		if flags[name] != want {
			t.Errorf("/diag/configuration: %s is %q, want %q", name, flags[name], want)
		}
	}
	if !strings.HasPrefix(flags["edge"], "[127.0.0.1:") || !strings.Contains(flags["edge"], " 127.0.0.1:") {
		t.Errorf("/diag/configuration: edge is %q", flags["edge"])
	}
	var system struct {
		Info   map[string]any
		Errors map[string]any
	}
	b = text("/diag/system")
	if err := json.Unmarshal([]byte(b), &system); err != nil {
		t.Errorf("/diag/system = %s, %v", b, err)
	}
	for _, key := range []string{
		"memoryMaximum", "memoryCurrent", "fileDescriptorMaximum", "fileDescriptorCurrent", "osSystem", "hostName", "osVersion", "osRelease",
		"architecture", "cloudflaredVersion", "goVersion", "goArch", "disk",
	} {
		if system.Info[key] == nil && len(system.Errors) == 0 {
			t.Errorf("/diag/system has no %s: %s", key, b)
		}
	}
}

// helloConfig is the configuration in force with --hello-world, in full.
const helloConfig = `{"version":-1,"config":{"ingress":[{"hostname":"","path":null,"service":"hello_world","Handlers":null,` +
	`"originRequest":` + originDefaults + `}],"warp-routing":{},"originRequest":` + originDefaults + `}}`

const originDefaults = `{"connectTimeout":30,"tlsTimeout":10,"tcpKeepAlive":30,"noHappyEyeballs":false,"keepAliveTimeout":90,` +
	`"keepAliveConnections":100,"httpHostHeader":"","originServerName":"","matchSNItoHost":false,"caPool":"","noTLSVerify":false,` +
	`"disableChunkedEncoding":false,"bastionMode":false,"proxyAddress":"127.0.0.1","proxyPort":0,"proxyType":"","ipRules":null,` +
	`"http2Origin":false,"access":{"teamName":"","audTag":null}}`

// TestReadyCommand: health checks of containers call `tunnel ready`.
func TestReadyCommand(t *testing.T) {
	e := harness.StartEdge(t)
	each(t, func(t *testing.T, s subject) {
		c := s.connect(t, e, "--grace-period", "1s")
		for _, args := range [][]string{{"--metrics", c.metrics, "ready"}} {
			if code := s.run(t, nil, append([]string{"tunnel"}, args...)...).ExitCode(t); code != 0 {
				t.Errorf("tunnel %v: exit code %d", args, code)
			}
		}
		if code := s.run(t, []string{"TUNNEL_METRICS=" + c.metrics}, "tunnel", "ready").ExitCode(t); code != 0 {
			t.Errorf("tunnel ready with TUNNEL_METRICS: exit code %d", code)
		}
		for _, args := range [][]string{{"ready"}, {"--metrics", "127.0.0.1:1", "ready"}} {
			if code := s.run(t, nil, append([]string{"tunnel"}, args...)...).ExitCode(t); code != 1 {
				t.Errorf("tunnel %v: exit code %d, want 1", args, code)
			}
		}
		taken := s.start(t, e, "--metrics", c.metrics)
		if code := taken.ExitCode(t); code != 1 {
			t.Errorf("with a metrics address that is taken: exit code %d, want 1", code)
		}
	})
}

// TestDefaultMetricsAddress: tools look for the listener on known ports of the loopback interface.
func TestDefaultMetricsAddress(t *testing.T) {
	e := harness.StartEdge(t)
	each(t, func(t *testing.T, s subject) {
		args := []string{
			"tunnel", "--no-autoupdate", "--cacert", e.Data + "/ca.pem", "--edge", fmt.Sprintf("127.0.0.1:%d", e.Ports[0]),
			"--hello-world", "--grace-period", "1s", "run",
		}
		p := s.run(t, []string{"TUNNEL_TOKEN=" + e.Token}, args...)
		line := p.Line(t, "Starting metrics server on ")
		addr, _, _ := strings.Cut(line, "/metrics")
		host, port, err := net.SplitHostPort(addr)
		if err != nil || host != "127.0.0.1" {
			t.Errorf("listener on %q, %v", line, err)
		}
		if known := []string{"20241", "20242", "20243", "20244", "20245"}; !slices.Contains(known, port) {
			for _, k := range known { // a random port only if all of these are taken
				if c, err := net.Listen("tcp", "127.0.0.1:"+k); err == nil {
					_ = c.Close()
					t.Errorf("listener on port %s although %s is free", port, k)
				}
			}
		}
	})
}
