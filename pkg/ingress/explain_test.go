package ingress_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/culvert-tunnel/culvert/pkg/ingress"
)

func TestExplain(t *testing.T) {
	host, yes := "inner.test", true
	set, err := ingress.Compile(ingress.Document{Ingress: []ingress.RuleSpec{
		{Hostname: "a.test", Path: "/api", Service: "http://u:secret@localhost:1", OriginRequest: ingress.OriginSpec{HTTPHostHeader: &host}},
		{Hostname: "*.b.test", Service: "https://10.0.0.1", OriginRequest: ingress.OriginSpec{NoTLSVerify: &yes}},
		{Hostname: "c.b.test", Service: "ssh://localhost"},
		{Hostname: "d.test", Path: "^/x$", Service: "unix+tls:/run/d.sock"},
		{Service: "http_status:404"},
	}})
	if err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		host, path string
		index      int
		skipped    []string
		origin     string
		changes    string // a part of them
		warnings   []string
	}{
		"first rule, in the middle of the path": {
			host: "A.test:443", path: "/v1/api/x", origin: "http://u:xxxxx@localhost:1, over HTTP/1.1", changes: "Host: inner.test (httpHostHeader)",
			warnings: []string{
				`path "/api" is not anchored: it matches "/v1/api/x" from character 3 on; write "^/api" to match only from the start`,
			},
		},
		"another path": {
			host: "a.test", path: "/", index: 4, origin: "none: the connector responds with status 404",
			skipped: []string{
				`the expression "/api" matches nothing in the path "/"`, `"a.test" is no host below "b.test"`,
				`the host is "a.test", not "c.b.test"`, `the host is "a.test", not "d.test"`,
			},
		},
		"shadowed by a wildcard": {
			host: "c.b.test", path: "/", index: 1, origin: "https://10.0.0.1, over HTTP/1.1",
			skipped:  []string{`the host is "c.b.test", not "a.test"`},
			changes:  "TLS server name: 10.0.0.1; any certificate is accepted (noTLSVerify)",
			warnings: []string{"rule #2 matches as well, but comes later"},
		},
		"name of a wildcard itself": {
			host: "b.test", path: "/", index: 4, origin: "none: the connector responds with status 404",
			skipped: []string{
				`the host is "b.test", not "a.test"`, `"b.test" is no host below "b.test"`, `the host is "b.test", not "c.b.test"`,
				`the host is "b.test", not "d.test"`,
			},
			warnings: []string{`rule #1 is for hosts below "b.test", and not for that name itself`},
		},
	} {
		t.Run(name, func(t *testing.T) {
			e := set.Explain(ingress.Get(tc.host, tc.path))
			if e.Index != tc.index || e.Rule != &set.Rules[tc.index] || e.Origin != tc.origin {
				t.Errorf("rule %d, origin %q", e.Index, e.Origin)
			}
			if d := cmp.Diff(tc.skipped, e.Skipped); d != "" {
				t.Errorf("skipped: %s", d)
			}
			if d := cmp.Diff(tc.warnings, e.Warnings); d != "" {
				t.Errorf("warnings: %s", d)
			}
			if !strings.Contains(strings.Join(e.Changes, "\n"), tc.changes) || (tc.changes == "") != (e.Changes == nil) {
				t.Errorf("changes %q, want %q among them", e.Changes, tc.changes)
			}
		})
	}
	e := set.WithInternal("management.test").Explain(ingress.Get("management.test", "/"))
	if e.Index != -1 || e.Skipped != nil || e.Origin == "" {
		t.Errorf("management host: %+v", e)
	}
}

func TestExplainOrigins(t *testing.T) {
	for service, want := range map[string]string{
		"h2c://h:1": "h2c://h:1, over HTTP/2 without TLS", "unix:/s": "the Unix socket /s, over HTTP",
		"unix+tls:/s": "the Unix socket /s, over HTTPS",
		"hello_world": "none: the connector responds with its demo page", "rdp://h": "h:3389, as a byte stream",
		"bastion": "Cf-Access-Jump-Destination", "socks-proxy": "SOCKS5",
	} {
		set, err := ingress.Compile(ingress.Document{Ingress: []ingress.RuleSpec{{Service: service}}})
		if err != nil {
			t.Fatal(err)
		}
		if e := set.Explain(ingress.Get("h.test", "/")); !strings.Contains(e.Origin, want) {
			t.Errorf("%s: origin %q, want %q in it", service, e.Origin, want)
		}
	}
}

func TestExplainOriginsAndActions(t *testing.T) {
	doc, err := ingress.ParseJSON([]byte(`{"ingress":[{"services":["http://a:1",{"service":"http://u:secret@b:1","weight":2},
		{"service":"http://c:1","backup":true}],"actions":{"stripPrefix":"/api","maxBody":5,"timeout":"30s","limits":{"rate":1},
		"basicAuth":{"users":{"alice":"` + someHash + `"}},"requestHeaders":{"set":{"X-A":"secret"}},
		"responseHeaders":{"remove":["Server"]}}}]}`))
	if err != nil {
		t.Fatal(err)
	}
	set, err := ingress.Compile(doc)
	if err != nil {
		t.Fatal(err)
	}
	e := set.Explain(ingress.Get("h.test", "/"))
	all := e.Origin + "\n" + strings.Join(e.Changes, "\n")
	for _, want := range []string{
		"one of http://a:1, http://u:xxxxx@b:1 (weight 2), http://c:1 (backup); by round_robin", "actions.stripPrefix",
		"more than 5 bytes", "take 30s",
		"one of 1 users", "actions.limits", "header X-A of the request: set", "header Server of the response: removed",
	} {
		if !strings.Contains(all, want) {
			t.Errorf("no %q in\n%s", want, all)
		}
	}
	if strings.Contains(all, "secret") || strings.Contains(all, "$2a$") {
		t.Errorf("a secret is shown:\n%s", all)
	}
}

// FuzzExplain holds the reasons against Match: an earlier rule alone never takes the request.
func FuzzExplain(f *testing.F) {
	f.Add("*.example.com", "^/x", "a.EXAMPLE.com:80", "/x/../y")
	f.Add("bücher.example", "", "xn--bcher-kva.example.", "//a/./b/..")
	f.Add("*.", "a|b", ".", "")
	f.Add("*.test", "", "test.", "/")
	f.Fuzz(func(t *testing.T, hostname, path, host, request string) {
		spec := ingress.RuleSpec{Hostname: hostname, Path: path, Service: "http_status:200"}
		set, err := ingress.Compile(ingress.Document{Ingress: []ingress.RuleSpec{
			spec, {Hostname: "z.example", Service: "hello_world"}, {Service: "http_status:404"},
		}})
		if err != nil {
			return
		}
		_, index := set.Match(host, request)
		e := set.Explain(ingress.Get(host, request))
		if e.Index != index || len(e.Skipped) != index {
			t.Fatalf("Explain: rule %d with %d skipped, Match: %d", e.Index, len(e.Skipped), index)
		}
		if index > 0 && strings.HasPrefix(e.Skipped[0], "the expression") == set.Rules[0].MatchPath(request) {
			t.Fatalf("rule #0 is skipped because %s", e.Skipped[0])
		}
	})
}
