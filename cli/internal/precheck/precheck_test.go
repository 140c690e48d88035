package precheck_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/culvert-tunnel/culvert/cli/internal/precheck"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

const edge = "127.0.0.1:8490"

// rows makes results: one letter for each of DNS, QUIC, HTTP/2 and API: p, f or s for passed, failed and skipped, - for no row.
func rows(t *testing.T, letters string) []precheck.Result {
	t.Helper()
	var out []precheck.Result
	for i, l := range letters {
		k, target := precheck.Kind(i), edge
		if k == precheck.API {
			target = precheck.APITarget
		}
		switch l {
		case 'p':
			out = append(out, precheck.Passed(k, target))
		case 'f':
			out = append(out, precheck.Failed(k, target, ""))
		case 's':
			out = append(out, precheck.NoAddress(k, target))
		case '-':
		default:
			t.Fatalf("letter %c", l)
		}
	}
	return out
}

// TestSeverity walks the rules of docs/spec/lifecycle.md 12.2.
func TestSeverity(t *testing.T) {
	for letters, want := range map[string]struct {
		hard, degraded bool
		summary        string
	}{
		"pppp": {summary: "SUMMARY: Environment is healthy. cloudflared will use 'quic' as primary protocol."},
		"ppp-": {summary: "SUMMARY: Environment is healthy. cloudflared will use 'quic' as primary protocol."},
		"pfpp": {degraded: true, summary: "SUMMARY: Environment ready with degraded transport. cloudflared will proceed using 'http2'."},
		"ppfp": {degraded: true, summary: "SUMMARY: Environment ready with degraded transport. cloudflared will proceed using 'quic'."},
		"pppf": {degraded: true, summary: "SUMMARY: Environment ready with degraded transport. cloudflared will proceed using 'quic'."},
		"pssf": {degraded: true, summary: "SUMMARY: Environment ready with degraded transport."},
		"pssp": {summary: "SUMMARY: Environment is healthy."},
		"pffp": {hard: true, summary: "SUMMARY: Environment has critical failures. cloudflared may not be able to establish a tunnel."},
		"fssp": {hard: true, summary: "SUMMARY: Environment has critical failures. cloudflared may not be able to establish a tunnel."},
		"fppp": {hard: true, summary: "SUMMARY: Environment has critical failures. cloudflared may not be able to establish a tunnel."},
	} {
		r := precheck.Report{Results: rows(t, letters)}
		r.Suggested = precheck.Suggest(r.Results, "")
		if r.HardFail() != want.hard || r.Degraded() != want.degraded {
			t.Errorf("%s: HardFail = %v, Degraded = %v, want %v, %v", letters, r.HardFail(), r.Degraded(), want.hard, want.degraded)
		}
		lines := r.Lines()
		if got := strings.Trim(lines[len(lines)-2], "| "); got != want.summary {
			t.Errorf("%s: summary %q, want %q", letters, got, want.summary)
		}
		severity := "WARNING: "
		if want.hard {
			severity = "ERROR: "
		}
		if got, want := strings.Count(strings.Join(lines, "\n"), severity), strings.Count(letters, "f"); got != want {
			t.Errorf("%s: %d lines of advice that begin with %q, want one per failure, %d", letters, got, severity, want)
		}
	}
}

func TestSuggest(t *testing.T) {
	for _, tc := range []struct {
		letters string
		asked   tunnel.Protocol
		want    tunnel.Protocol
	}{
		{"ppp", "", tunnel.QUIC},
		{"ppp", tunnel.HTTP2, tunnel.HTTP2},
		{"ppf", tunnel.HTTP2, tunnel.QUIC},
		{"pfp", tunnel.QUIC, tunnel.HTTP2},
		{"pfp", "", tunnel.HTTP2},
		{"pff", tunnel.QUIC, ""},
		{"fss", "", ""},
		{"fss", tunnel.QUIC, tunnel.QUIC}, // nothing speaks against what the operator asked for
	} {
		if got := precheck.Suggest(rows(t, tc.letters), tc.asked); got != tc.want {
			t.Errorf("Suggest(%s, %q) = %q, want %q", tc.letters, tc.asked, got, tc.want)
		}
	}
	// One bad target spoils its transport.
	mixed := append(rows(t, "ppp"), precheck.Failed(precheck.QUIC, "127.0.0.2:8490", ""))
	if got := precheck.Suggest(mixed, ""); got != tunnel.HTTP2 {
		t.Errorf("one of two QUIC targets fails: %q, want http2", got)
	}
}

// TestTableAsRecorded compares with lines that cloudflared 2026.8.2 printed for the same results.
func TestTableAsRecorded(t *testing.T) {
	var results []precheck.Result
	for _, k := range []precheck.Kind{precheck.DNS, precheck.QUIC, precheck.HTTP2} {
		results = append(results, precheck.Passed(k, "127.0.0.1:8490"), precheck.Passed(k, "127.0.0.2:8490"))
	}
	results = append(results, precheck.Failed(precheck.API, precheck.APITarget, ""))
	r := precheck.Report{Results: results, Suggested: tunnel.HTTP2}
	const width = 160
	pad := func(s string) string { return "|  " + s + strings.Repeat(" ", width-len(s)) + "  |" }
	border := "+" + strings.Repeat("-", width+4) + "+"
	want := []string{
		border,
		pad(strings.Repeat(" ", 68) + "CONNECTIVITY PRE-CHECKS"),
		border,
		pad("COMPONENT         TARGET                  STATUS  DETAILS"),
		pad("DNS Resolution    127.0.0.1:8490          PASS    DNS Resolved successfully"),
		pad("DNS Resolution    127.0.0.2:8490          PASS    DNS Resolved successfully"),
		pad("UDP Connectivity  127.0.0.1:8490          PASS    QUIC connection successful"),
		pad("UDP Connectivity  127.0.0.2:8490          PASS    QUIC connection successful"),
		pad("TCP Connectivity  127.0.0.1:8490          PASS    HTTP/2 connection successful"),
		pad("TCP Connectivity  127.0.0.2:8490          PASS    HTTP/2 connection successful"),
		pad("Cloudflare API    api.cloudflare.com:443  FAIL    API Connection failed"),
		pad("WARNING: cloudflared will still run, but automatic software updates are unavailable. " +
			"Ensure port 443 TCP to api.cloudflare.com is open if you want auto-updates."),
		pad(""),
		pad("SUMMARY: Environment ready with degraded transport. cloudflared will proceed using 'http2'."),
		border,
	}
	if diff := cmp.Diff(want, r.Lines()); diff != "" {
		t.Errorf("Lines() (-want +got):\n%s", diff)
	}
}

func TestAdvice(t *testing.T) {
	for _, tc := range []struct {
		kind         precheck.Kind
		target, want string
	}{
		{precheck.DNS, "region1.v2.argotunnel.com", "Ensure your DNS resolver can resolve 'region1.v2.argotunnel.com'. Run: dig A " +
			"region1.v2.argotunnel.com @1.1.1.1. If that fails, contact your network administrator."},
		{precheck.DNS, "edge.example:7844", "Ensure your DNS resolver can resolve 'edge.example'. Run: dig A " +
			"edge.example @1.1.1.1. If that fails, contact your network administrator."},
		{precheck.QUIC, "region1.v2.argotunnel.com", "Allow outbound QUIC traffic on port 7844 or use HTTP2."},
		{precheck.QUIC, "192.0.2.1:7844", "Allow outbound QUIC traffic on port 7844 or use HTTP2."},
		{precheck.HTTP2, "192.0.2.1:443", "Allow outbound TCP on port 443."},
	} {
		if got := precheck.Failed(tc.kind, tc.target, "").Action; got != tc.want {
			t.Errorf("advice about %v %s: %q, want %q", tc.kind, tc.target, got, tc.want)
		}
	}
}

// TestTextsThatCannotBreakTheTable: an error of a resolver has any length and any line ends.
func TestTextsThatCannotBreakTheTable(t *testing.T) {
	r := precheck.Report{Results: []precheck.Result{
		precheck.Failed(precheck.DNS, edge, "one\ttwo\nthree "+strings.Repeat("ü", 500)), precheck.Passed(precheck.QUIC, "a\nb"),
	}}
	lines := r.Lines()
	if len(lines) != 3+3+1+2+1 {
		t.Errorf("%d lines:\n%s", len(lines), strings.Join(lines, "\n"))
	}
	for _, l := range lines {
		if n, want := len([]rune(l)), len(lines[0]); n != want {
			t.Errorf("a line of %d characters in a box of %d: %s", n, want, l)
		}
	}
	if !strings.Contains(strings.Join(lines, "\n"), "one two three üüü") {
		t.Errorf("the error is missing:\n%s", strings.Join(lines, "\n"))
	}
}

func TestDiagJSON(t *testing.T) {
	r := precheck.Report{RunID: "id", Results: rows(t, "pfsp"), Suggested: tunnel.QUIC}
	b, err := r.DiagJSON()
	if err != nil {
		t.Fatal(err)
	}
	var got struct {
		RunID             string
		SuggestedProtocol *int
		Results           []map[string]any
	}
	if err := json.Unmarshal(b, &got); err != nil {
		t.Fatal(err)
	}
	want := []map[string]any{
		{"Type": 0.0, "Component": "DNS Resolution", "Target": edge, "ProbeStatus": 0.0, "Details": "DNS Resolved successfully", "Action": ""},
		{
			"Type": 1.0, "Component": "UDP Connectivity", "Target": edge, "ProbeStatus": 1.0, "Details": "QUIC connection failed",
			"Action": "Allow outbound QUIC traffic on port 8490 or use HTTP2.",
		},
		{"Type": 2.0, "Component": "TCP Connectivity", "Target": edge, "ProbeStatus": 2.0, "Details": "DNS prerequisite failed", "Action": ""},
		{
			"Type": 3.0, "Component": "Cloudflare API", "Target": "api.cloudflare.com:443", "ProbeStatus": 0.0, "Details": "API is reachable",
			"Action": "",
		},
	}
	if diff := cmp.Diff(want, got.Results); diff != "" {
		t.Errorf("results (-want +got):\n%s", diff)
	}
	if got.RunID != "id" || got.SuggestedProtocol == nil || *got.SuggestedProtocol != 1 {
		t.Errorf("run id %q, suggested protocol %v", got.RunID, got.SuggestedProtocol)
	}
	r.Suggested = ""
	if b, err = r.DiagJSON(); err != nil || !strings.Contains(string(b), `"SuggestedProtocol": null`) {
		t.Errorf("without a protocol: %v\n%s", err, b)
	}
}

func TestJSON(t *testing.T) {
	r := precheck.Report{RunID: "id", Results: rows(t, "-ff"), Suggested: ""}
	b, err := r.JSON()
	if err != nil {
		t.Fatal(err)
	}
	var got map[string]any
	if err := json.Unmarshal(b, &got); err != nil {
		t.Fatal(err)
	}
	want := map[string]any{
		"run_id": "id", "hard_fail": true, "results": []any{
			map[string]any{
				"component": "UDP Connectivity", "target": edge, "status": "fail", "details": "QUIC connection failed",
				"action": "Allow outbound QUIC traffic on port 8490 or use HTTP2.",
			},
			map[string]any{
				"component": "TCP Connectivity", "target": edge, "status": "fail",
				"details": "HTTP/2 connection is blocked or unreachable", "action": "Allow outbound TCP on port 8490.",
			},
		},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("JSON() (-want +got):\n%s", diff)
	}
}
