package ingress_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/culvert-tunnel/culvert/pkg/ingress"
)

// conditional compiles a rule with conditions before the last rule.
func conditional(t *testing.T, match string, remote bool) (*ingress.Set, error) {
	t.Helper()
	doc, err := ingress.ParseJSON([]byte(
		`{"ingress":[{"hostname":"a.test","service":"http_status:200","match":` + match + `},{"service":"http_status:404"}]}`))
	if err != nil {
		return nil, err
	}
	if remote {
		return ingress.CompileRemote(doc)
	}
	return ingress.Compile(doc)
}

func TestConditions(t *testing.T) {
	ask := func(change func(r *ingress.Request)) *ingress.Request {
		r := ingress.Get("a.test", "/")
		r.Header = map[string][]string{"X-Beta": {"0", "1"}}
		r.Query = "v=2&v=3&empty=&%zz"
		change(r)
		return r
	}
	same := func(*ingress.Request) {}
	for _, tc := range []struct {
		match  string
		change func(r *ingress.Request)
		why    string // the rule does not match; empty: it does
	}{
		{`{"methods":["GET","HEAD"]}`, same, ""},
		{`{"methods":["POST"]}`, same, `the method is "GET", not one of ["POST"]`},
		{`{"protocols":["http"]}`, same, ""},
		{`{"protocols":["websocket","grpc"]}`, same, `the protocol is "http", not one of ["websocket" "grpc"]`},
		{`{"protocols":["websocket"]}`, func(r *ingress.Request) { r.Protocol = ingress.ProtocolWebSocket }, ""},
		{`{"ports":[443,8443]}`, same, ""},
		{`{"ports":[8443]}`, same, `the port is 443, not one of [8443]`},
		{`{"ports":[8443]}`, func(r *ingress.Request) { r.Port = 8443 }, ""},
		{`{"headers":{"x-beta":"1"}}`, same, ""},
		{`{"headers":{"X-Beta":"*"}}`, same, ""},
		{`{"headers":{"X-Beta":"~^[1-9]$"}}`, same, ""},
		{`{"headers":{"X-Beta":"2"}}`, same, `no header X-Beta has the value "2"`},
		{`{"headers":{"X-Beta":"~^[3-9]$"}}`, same, `no header X-Beta has the value "~^[3-9]$"`},
		{`{"headers":{"X-Beta":"1","X-Other":"*"}}`, same, `no header X-Other has the value "*"`},
		{`{"query":{"v":"3"}}`, same, ""},
		{`{"query":{"empty":""}}`, same, ""},
		{`{"query":{"V":"3"}}`, same, `no parameter V of the query has the value "3"`},
		{`{"query":{"v":"~^4"}}`, same, `no parameter v of the query has the value "~^4"`},
		{`{"query":{"v":"2"},"methods":["GET"],"ports":[443]}`, same, ""},
		{`{"query":{"v":"2"},"methods":["GET"],"ports":[80]}`, same, `the port is 443, not one of [80]`},
	} {
		set, err := conditional(t, tc.match, true)
		if err != nil || !set.Conditional() {
			t.Errorf("%s: %v", tc.match, err)
			continue
		}
		e := set.Explain(ask(tc.change))
		if (e.Index == 0) != (tc.why == "") || tc.why != "" && e.Skipped[0] != tc.why {
			t.Errorf("%s: rule %d, skipped %q, want %q", tc.match, e.Index, e.Skipped, tc.why)
		}
		if e := set.Explain(ingress.Get("b.test", "/")); !strings.HasPrefix(e.Skipped[0], "the host is") {
			t.Errorf("%s: another host is skipped because %s", tc.match, e.Skipped[0])
		}
	}
}

func TestMalformedConditions(t *testing.T) {
	for _, tc := range []struct{ json, want string }{
		{`{}`, "there is no condition in it"},
		{`{"methods":["GE T"]}`, `"GE T" is no method`},
		{`{"protocols":["tcp"]}`, `protocols: "tcp"`},
		{`{"ports":[0]}`, "ports: 0"},
		{`{"headers":{"Host":"x"}}`, "which is hostname"},
		{`{"headers":{"a b":"x"}}`, "no name of a header"},
		{`{"headers":{"A":"~("}}`, "headers: A: "},
		{`{"query":{"a":"~["}}`, "query: a: "},
	} {
		if _, err := conditional(t, tc.json, true); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s pushed: %v, want %q", tc.json, err, tc.want)
		}
		set, err := conditional(t, tc.json, false)
		if err != nil || set.Rules[0].Closed == "" || !strings.Contains(strings.Join(set.Warnings(), " "), tc.want) {
			t.Errorf("%s in a local file: %v, %q; want a closed rule and a warning", tc.json, err, tc.want)
			continue
		}
		if _, i := set.Match("a.test", "/"); i != 0 {
			t.Errorf("%s: requests pass by the closed rule", tc.json)
		}
	}
	if _, err := conditional(t, `{"method":["GET"]}`, false); err == nil || !strings.Contains(err.Error(), "method") {
		t.Errorf("unknown key: %v", err)
	}
}

// TestRulesAfterConditionsAreReached: same host and path again, and any host in the middle, are no mistakes with conditions.
func TestRulesAfterConditionsAreReached(t *testing.T) {
	match := &ingress.MatchSpec{Methods: []string{"POST"}}
	set, err := ingress.Compile(ingress.Document{Ingress: []ingress.RuleSpec{
		{Service: "http_status:201", Match: match},
		{Hostname: "a.test", Service: "http_status:202", Match: &ingress.MatchSpec{Ports: []int{80}}},
		{Hostname: "a.test", Service: "http_status:203"},
		{Service: "http_status:404"},
	}})
	if err != nil || len(set.Warnings()) > 0 {
		t.Fatalf("%v, warnings %q", err, set.Warnings())
	}
	post, insecure := ingress.Get("a.test", "/"), ingress.Get("a.test", "/")
	post.Method, insecure.Port = "POST", 80
	for want, r := range []*ingress.Request{post, insecure, ingress.Get("a.test", "/"), ingress.Get("b.test", "/")} {
		if _, i := set.MatchRequest(r); i != want {
			t.Errorf("%+v: rule %d, want %d", r, i, want)
		}
	}
	last, err := ingress.Compile(ingress.Document{Ingress: []ingress.RuleSpec{{Service: "http_status:404", Match: match}}})
	if err != nil || !strings.Contains(last.Rules[0].Closed, "last rule") {
		t.Errorf("conditions of the last rule: %v", err)
	}
}

func TestPort(t *testing.T) {
	for host, want := range map[string]int{"a": 443, "a:8080": 8080, "[::1]:81": 81, "[::1]": 443, "a:x": 443, "a:99999": 443} {
		if got := ingress.Port(host, "https"); got != want {
			t.Errorf("Port(%q) = %d, want %d", host, got, want)
		}
	}
	if got := ingress.Port("a", "http"); got != 80 {
		t.Errorf("Port over HTTP = %d", got)
	}
}

// TestRulesWithoutConditionsAllocateNothing holds the matcher of a set without conditions to what it was.
func TestRulesWithoutConditionsAllocateNothing(t *testing.T) {
	set, err := ingress.Compile(ingress.Document{Ingress: []ingress.RuleSpec{
		{Hostname: "a.test", Service: "http_status:200"}, {Service: "http_status:404"},
	}})
	if err != nil || set.Conditional() {
		t.Fatalf("%v", err)
	}
	if n := testing.AllocsPerRun(100, func() { set.Match("a.test", "/") }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// FuzzConditions holds the rule that is found against its own conditions, and the reason against Match.
func FuzzConditions(f *testing.F) {
	f.Add(`{"methods":["GET"],"headers":{"X":"~a"},"query":{"q":"*"}}`, "GET", "q=1&x", "ab", 443)
	f.Add(`{"ports":[80],"protocols":["grpc"]}`, "POST", "%", "", 80)
	f.Fuzz(func(t *testing.T, match, method, query, header string, port int) {
		set, err := conditional(t, match, true)
		if err != nil {
			return
		}
		r := &ingress.Request{
			Host: "a.test", Path: "/", Method: method, Query: query, Port: port, Protocol: ingress.ProtocolGRPC,
			Header: map[string][]string{"X": {header}},
		}
		_, i := set.MatchRequest(r)
		if (i == 0) != set.Rules[0].Meets(r) {
			t.Fatalf("%s: rule %d, meets: %v", match, i, set.Rules[0].Meets(r))
		}
		e := set.Explain(r)
		if e.Index != i || len(e.Skipped) != i || slices.Contains(e.Skipped, "") {
			t.Fatalf("%s: rule %d, explained as %d, %q", match, i, e.Index, e.Skipped)
		}
		set.Conflicts(r, i)
	})
}
