//go:build dropin

package dropin_test

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/culvert-tunnel/culvert/tests/harness"
)

// apiReason is why ours does not ask the vendor's API.
const apiReason = "a connector of another edge has no business with the vendor's API, and no warning that it is out of reach"

// precheckRows gives the texts of the table in the console form, without the border.
func precheckRows(log string) []string {
	var rows []string
	for line := range strings.Lines(log) {
		if _, text, ok := strings.Cut(line, " INF |"); ok {
			rows = append(rows, strings.Join(strings.Fields(strings.TrimSuffix(strings.TrimSpace(text), "|")), " "))
		}
	}
	return rows
}

// TestPrechecks: support staff ask for the table that a connector prints at its start.
func TestPrechecks(t *testing.T) {
	e := harness.StartEdge(t)
	each(t, func(t *testing.T, s subject) {
		c := s.connect(t, e, "--grace-period", "1s")
		rest := c.Line(t, "INF precheck complete ")
		if !strings.HasPrefix(rest, "hard_fail=false run_id=") || !strings.HasSuffix(rest, " suggested_protocol=quic") {
			t.Errorf("last line: %s", rest)
		}
		want := []string{"CONNECTIVITY PRE-CHECKS", "COMPONENT TARGET STATUS DETAILS"}
		for _, row := range []string{
			"DNS Resolution %s PASS DNS Resolved successfully", "UDP Connectivity %s PASS QUIC connection successful",
			"TCP Connectivity %s PASS HTTP/2 connection successful",
		} {
			for _, p := range e.Ports {
				want = append(want, fmt.Sprintf(row, fmt.Sprintf("127.0.0.1:%d", p)))
			}
		}
		api := either(t, s, 0, 1, apiReason)
		if api == 1 {
			want = append(want, "Cloudflare API api.cloudflare.com:443 FAIL API Connection failed", "WARNING: cloudflared will still run, but "+
				"automatic software updates are unavailable. Ensure port 443 TCP to api.cloudflare.com is open if you want auto-updates.", "",
				"SUMMARY: Environment ready with degraded transport. cloudflared will proceed using 'quic'.")
		} else {
			want = append(want, "", "SUMMARY: Environment is healthy. cloudflared will use 'quic' as primary protocol.")
		}
		log := c.Out.String()
		if diff := cmp.Diff(want, precheckRows(log)); diff != "" {
			t.Errorf("table (-want +got):\n%s", diff)
		}
		if n := strings.Count(log, " INF precheck component="); n != 3*len(e.Ports)+api {
			t.Errorf("%d lines about checks, want %d", n, 3*len(e.Ports)+api)
		}
	})
}

// TestPrecheckJSON: log shippers read the structured lines.
func TestPrecheckJSON(t *testing.T) {
	e := harness.StartEdge(t)
	each(t, func(t *testing.T, s subject) {
		c := s.connect(t, e, "--grace-period", "1s", "--output", "json", "--protocol", "http2")
		c.Line(t, `"message":"precheck complete"`)
		found := 0
		for line := range strings.Lines(c.Out.String()) {
			var l map[string]any
			if json.Unmarshal([]byte(line), &l) != nil || !strings.HasPrefix(fmt.Sprint(l["message"]), "precheck") {
				continue
			}
			if id, ok := l["run_id"].(string); !ok || len(id) != 36 || l["time"] == "" {
				t.Errorf("run id or time of %s", line)
			}
			delete(l, "run_id")
			delete(l, "time")
			var want map[string]any
			switch l["target"] {
			case nil:
				want = map[string]any{"level": "info", "message": "precheck complete", "hard_fail": false, "suggested_protocol": "http2"}
			case fmt.Sprintf("127.0.0.1:%d", e.Ports[0]):
				if l["component"] != "UDP Connectivity" {
					continue
				}
				want = map[string]any{
					"level": "info", "message": "precheck", "component": "UDP Connectivity", "target": l["target"], "status": "pass",
					"details": "QUIC connection successful",
				}
			default:
				continue
			}
			found++
			if diff := cmp.Diff(want, l); diff != "" {
				t.Errorf("line (-want +got):\n%s", diff)
			}
		}
		if found != 2 {
			t.Errorf("found %d of 2 lines:\n%s", found, c.Out)
		}
	})
}

// TestPrechecksHardFail: an edge that does not respond at all.
func TestPrechecksHardFail(t *testing.T) {
	each(t, func(t *testing.T, s subject) {
		dead := fmt.Sprintf("127.0.0.1:%d", harness.FreePort(t))
		p := s.run(t, []string{"TUNNEL_TOKEN=" + token}, "tunnel", "--no-autoupdate", "--edge", dead, "--hello-world", "--loglevel", "info",
			"--metrics", fmt.Sprintf("127.0.0.1:%d", harness.FreePort(t)), "run")
		rest := p.Line(t, "INF precheck complete ")
		if !strings.HasPrefix(rest, "hard_fail=true run_id=") || strings.Contains(rest, "suggested_protocol") {
			t.Errorf("last line: %s", rest)
		}
		port := either(t, s, dead[strings.LastIndexByte(dead, ':')+1:], "7844", "advice that is right for an edge on another port")
		rows := precheckRows(p.Out.String())
		for _, want := range []string{
			"DNS Resolution " + dead + " PASS DNS Resolved successfully", "UDP Connectivity " + dead + " FAIL QUIC connection failed",
			"TCP Connectivity " + dead + " FAIL HTTP/2 connection is blocked or unreachable",
			"ERROR: Allow outbound QUIC traffic on port " + port + " or use HTTP2.", "ERROR: Allow outbound TCP on port " + port + ".",
			"SUMMARY: Environment has critical failures. cloudflared may not be able to establish a tunnel.",
		} {
			found := false
			for _, row := range rows {
				found = found || row == want
			}
			if !found {
				t.Errorf("no row %q in\n%s", want, strings.Join(rows, "\n"))
			}
		}
	})
}

// TestNoPrechecks: the flag and its variable switch them off.
func TestNoPrechecks(t *testing.T) {
	e := harness.StartEdge(t)
	each(t, func(t *testing.T, s subject) {
		c := s.connect(t, e, "--grace-period", "1s", "--no-prechecks")
		p := s.run(t, []string{"TUNNEL_NO_PRECHECKS=true", "TUNNEL_TOKEN=" + e.Token}, "tunnel", "--no-autoupdate", "--grace-period", "1s", "--cacert",
			filepath.Join(e.Data, "ca.pem"), "--edge", fmt.Sprintf("127.0.0.1:%d", e.Ports[0]), "--ha-connections", "1", "--hello-world",
			"--metrics", fmt.Sprintf("127.0.0.1:%d", harness.FreePort(t)), "run")
		p.Line(t, "INF Registered tunnel connection ")
		for _, log := range []string{c.Out.String(), p.Out.String()} {
			if strings.Contains(log, "INF precheck") || strings.Contains(log, "PRE-CHECKS") {
				t.Errorf("there are checks:\n%s", log)
			}
		}
	})
}
