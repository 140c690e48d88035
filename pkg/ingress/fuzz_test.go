package ingress_test

import (
	"net"
	"strings"
	"testing"

	"github.com/culvert-tunnel/culvert/pkg/ingress"
)

func FuzzParseJSON(f *testing.F) {
	f.Add(
		[]byte(
			`{"originRequest":{"connectTimeout":90,"ipRules":[{"prefix":"10.0.0.0/8","ports":[1]}]},` +
				`"ingress":[{"hostname":"*.a","path":"^/x","service":"http://b"},{"service":"http_status:404"}],` +
				`"warp-routing":{"maxActiveFlows":1}}`,
		),
	)
	f.Add([]byte(`{"ORIGINREQUEST":{"NoTlsVerify":true,"access":{"audTag":["x"],"required":true}},"Ingress":[{"service":"socks-proxy"}]}`))
	f.Add([]byte(`{"originRequest":{"tlsTimeout":"1m30s","proxyPort":-1}}`))
	f.Add([]byte(`null`))
	f.Fuzz(func(t *testing.T, b []byte) {
		doc, err := ingress.ParseJSON(b)
		if err != nil {
			return
		}
		set, err := ingress.CompileRemote(doc)
		if err != nil {
			return
		}
		// What was accepted reports in a form that is accepted again and reports the same, unless a fraction of a second,
		// which only text can give, is in it.
		first, err := set.ReportJSON(nil)
		if err != nil {
			t.Fatalf("ReportJSON: %v", err)
		}
		if _, err := set.ConfigJSON(1); err != nil {
			t.Fatalf("ConfigJSON: %v", err)
		}
		again, err := ingress.ParseJSON(first)
		if err != nil {
			if strings.Contains(err.Error(), "ParseInt") {
				return
			}
			t.Fatalf("ParseJSON(%s): %v", first, err)
		}
		if len(again.Ingress) != len(set.Rules) {
			t.Fatalf("%d rules became %d", len(set.Rules), len(again.Ingress))
		}
	})
}

func FuzzMatch(f *testing.F) {
	f.Add("*.example.com", "^/x", "a.EXAMPLE.com:80", "/x/../y")
	f.Add("bücher.example", "", "xn--bcher-kva.example.", "//a/./b/..")
	f.Add("*.", "a|b", ".", "")
	f.Add("[::1]", "", "[::1]:443", "*")
	f.Fuzz(func(t *testing.T, hostname, path, host, request string) {
		set, err := ingress.Compile(ingress.Document{Ingress: []ingress.RuleSpec{
			{Hostname: hostname, Path: path, Service: "http_status:200"},
			{Hostname: "guarded.example", Service: "hello_world", OriginRequest: ingress.OriginSpec{Access: &ingress.AccessSpec{Required: true}}},
			{Service: "http_status:404"},
		}})
		if err != nil {
			return
		}
		rule, i := set.Match(host, request)
		if rule != &set.Rules[i] || !rule.MatchPath(request) {
			t.Fatalf("Match(%q, %q) = %d", host, request, i)
		}
		set.Conflicts(ingress.Get(host, request), i)
		// A host without a port of its own matches its own rule as it is written.
		if _, _, err := net.SplitHostPort(hostname); err != nil && set.Rules[0].MatchPath(request) {
			if _, i := set.Match(hostname, request); i != 0 {
				t.Fatalf("Match(%q) misses the rule of the same name", hostname)
			}
		}
	})
}

// FuzzHostPort holds the package's own splitting against the standard library's.
func FuzzHostPort(f *testing.F) {
	for _, s := range []string{"a:80", "[::1]:80", "[::1]", "a:b:c", "[[a]:1", "[a]]:1", "a]:1", ":", "", "[]:", "[a:1", "[a]b:1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		_, err := ingress.Compile(ingress.Document{Ingress: []ingress.RuleSpec{
			{Hostname: strings.ReplaceAll(s, "*", "x"), Service: "hello_world", Path: "x"},
			{Service: "hello_world"},
		}})
		_, _, want := net.SplitHostPort(strings.ReplaceAll(s, "*", "x"))
		if (err != nil) != (want == nil) {
			t.Fatalf("hostname %q: %v, the library says %v", s, err, want)
		}
	})
}
