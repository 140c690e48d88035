package precheck

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

// Status is the outcome of one check. The numbers are those of prechecks.json.
type Status uint8

// The outcomes.
const (
	Pass Status = iota
	Fail
	Skip // not tried, since an earlier check failed
)

// String is the status as the table shows it.
func (s Status) String() string {
	switch s {
	case Pass:
		return "PASS"
	case Fail:
		return "FAIL"
	case Skip:
		return "SKIP"
	default:
		return fmt.Sprintf("STATUS(%d)", uint8(s))
	}
}

// LogString is the status as log lines and JSON show it.
func (s Status) LogString() string { return strings.ToLower(s.String()) }

// Kind says what a check tried. The numbers are those of prechecks.json.
type Kind uint8

// The kinds of checks.
const (
	DNS Kind = iota
	QUIC
	HTTP2
	API
)

// String names the component that a check is about.
func (k Kind) String() string {
	switch k {
	case DNS:
		return "DNS Resolution"
	case QUIC:
		return "UDP Connectivity"
	case HTTP2:
		return "TCP Connectivity"
	case API:
		return "Cloudflare API"
	default:
		return fmt.Sprintf("component %d", uint8(k))
	}
}

// APITarget is the address of the vendor's API.
const APITarget = "api.cloudflare.com:443"

// Result is one row: the outcome of one check.
type Result struct {
	Kind    Kind
	Target  string
	Status  Status
	Details string
	// Action is advice for a check that failed, else empty.
	Action string
}

// passed is the text about a check of kind k that passed.
func (k Kind) passed() string {
	switch k {
	case DNS:
		return "DNS Resolved successfully"
	case QUIC:
		return "QUIC connection successful"
	case HTTP2:
		return "HTTP/2 connection successful"
	case API:
		return "API is reachable"
	default:
		return ""
	}
}

// failed is the text about a check of kind k that failed.
func (k Kind) failed() string {
	switch k {
	case DNS:
		return "No addresses returned"
	case QUIC:
		return "QUIC connection failed"
	case HTTP2:
		return "HTTP/2 connection is blocked or unreachable"
	case API:
		return "API Connection failed"
	default:
		return ""
	}
}

// action is the advice about a check of kind k that failed. The port of the edge is in target when the target names one.
func (k Kind) action(target string) string {
	host, port := target, "7844"
	if i := strings.LastIndexByte(target, ':'); i >= 0 {
		host, port = strings.Trim(target[:i], "[]"), target[i+1:]
	}
	switch k {
	case DNS:
		return fmt.Sprintf("Ensure your DNS resolver can resolve '%s'. Run: dig A %s @1.1.1.1. If that fails, contact your network "+
			"administrator.", host, host)
	case QUIC:
		return fmt.Sprintf("Allow outbound QUIC traffic on port %s or use HTTP2.", port)
	case HTTP2:
		return fmt.Sprintf("Allow outbound TCP on port %s.", port)
	case API:
		return "cloudflared will still run, but automatic software updates are unavailable. Ensure port 443 TCP to api.cloudflare.com is " +
			"open if you want auto-updates."
	default:
		return ""
	}
}

// Passed is the row of a check that passed.
func Passed(k Kind, target string) Result {
	return Result{Kind: k, Target: target, Status: Pass, Details: k.passed()}
}

// Failed is the row of a check that failed. details replaces the usual text unless it is empty; it becomes one line.
func Failed(k Kind, target, details string) Result {
	if details = strings.Join(strings.Fields(details), " "); details == "" {
		details = k.failed()
	}
	return Result{Kind: k, Target: target, Status: Fail, Details: details, Action: k.action(target)}
}

// NoAddress is the row of a transport that was not tried since no address is known.
func NoAddress(k Kind, target string) Result {
	return Result{Kind: k, Target: target, Status: Skip, Details: "DNS prerequisite failed"}
}

// NoFamily is the row of a transport that was not tried since the target has no address of the IP version to use.
func NoFamily(k Kind, target string) Result {
	return Result{Kind: k, Target: target, Status: Skip, Details: "No suitable address found for configured IP version"}
}

// Report is the result of one run of all checks.
type Report struct {
	// RunID is a UUID that ties the lines of one run together.
	RunID   string
	Results []Result
	// Suggested is the protocol that a connector would use here; empty when there is none.
	Suggested tunnel.Protocol
}

// Suggest says which protocol a connector would use: the one that the operator asked for unless it fails, else QUIC if all its checks
// passed, else HTTP/2 if all of its own passed. asked is empty for none.
func Suggest(results []Result, asked tunnel.Protocol) tunnel.Protocol {
	quic, http2 := worst(results, QUIC), worst(results, HTTP2)
	switch {
	case asked == tunnel.QUIC && quic != Fail:
		return tunnel.QUIC
	case asked == tunnel.HTTP2 && http2 != Fail:
		return tunnel.HTTP2
	case quic == Pass:
		return tunnel.QUIC
	case http2 == Pass:
		return tunnel.HTTP2
	default:
		return ""
	}
}

// worst is Fail if any check of kind k failed, else Pass if any passed, else Skip.
func worst(results []Result, k Kind) Status {
	found := Skip
	for _, r := range results {
		switch {
		case r.Kind != k || r.Status == Skip:
		case r.Status == Fail:
			return Fail
		default:
			found = r.Status
		}
	}
	return found
}

// HardFail reports whether no tunnel can be expected here: a name does not resolve, or both transports have a target that fails.
func (r Report) HardFail() bool {
	return worst(r.Results, DNS) == Fail || worst(r.Results, QUIC) == Fail && worst(r.Results, HTTP2) == Fail
}

// Degraded reports whether a tunnel works here although one check failed.
func (r Report) Degraded() bool {
	if r.HardFail() {
		return false
	}
	return worst(r.Results, QUIC) == Fail || worst(r.Results, HTTP2) == Fail || worst(r.Results, API) == Fail
}

// diagResult and diagReport are the form of prechecks.json, whose names and numbers the support tools of the vendor read.
type diagResult struct {
	Type        Kind
	Component   string
	Target      string
	ProbeStatus Status
	Details     string
	Action      string
}

type diagReport struct {
	RunID             string
	Results           []diagResult
	SuggestedProtocol *int
}

// DiagJSON is the report as the file prechecks.json of a diagnostic bundle.
func (r Report) DiagJSON() ([]byte, error) {
	d := diagReport{RunID: r.RunID, Results: []diagResult{}}
	for _, res := range r.Results {
		d.Results = append(d.Results, diagResult{res.Kind, res.Kind.String(), res.Target, res.Status, res.Details, res.Action})
	}
	number := map[tunnel.Protocol]int{tunnel.HTTP2: 0, tunnel.QUIC: 1}
	if n, ok := number[r.Suggested]; ok {
		d.SuggestedProtocol = &n
	}
	return json.MarshalIndent(d, "", "  ")
}

// row and document are the form for scripts: names as in the log lines.
type row struct {
	Component string `json:"component"`
	Target    string `json:"target"`
	Status    string `json:"status"`
	Details   string `json:"details"`
	Action    string `json:"action,omitempty"`
}

type document struct {
	RunID             string `json:"run_id"`
	HardFail          bool   `json:"hard_fail"`
	SuggestedProtocol string `json:"suggested_protocol,omitempty"`
	Results           []row  `json:"results"`
}

// JSON is the report for scripts.
func (r Report) JSON() ([]byte, error) {
	d := document{RunID: r.RunID, HardFail: r.HardFail(), SuggestedProtocol: string(r.Suggested), Results: []row{}}
	for _, res := range r.Results {
		d.Results = append(d.Results, row{res.Kind.String(), res.Target, res.Status.LogString(), res.Details, res.Action})
	}
	return json.MarshalIndent(d, "", "  ")
}
