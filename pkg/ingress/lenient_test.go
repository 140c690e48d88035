package ingress_test

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/culvert-tunnel/culvert/pkg/ingress"
)

// TestWhatTheReferenceIgnoresIsAWarning compiles documents with mistakes that the reference does not look at. Each must
// compile, and the set must say what it does instead.
func TestWhatTheReferenceIgnoresIsAWarning(t *testing.T) {
	for _, tt := range []struct {
		name, yaml string
		want       []string
	}{
		{
			"unknown scheme", "ingress:\n- service: ftp://user:secret@host:21\n",
			[]string{`Rule #1: ftp://user:xxxxx@host:21 has the unknown scheme "ftp"; its bytes are carried to host:21 as a TCP stream`},
		},
		{
			"unknown scheme without a port", "ingress:\n- service: udp://host\n",
			[]string{
				`Rule #1: udp://host has the unknown scheme "udp"; its bytes are carried to host as a TCP stream`,
				"Rule #1: udp://host names no port, so every connection to it fails",
			},
		},
		{
			"rules of a bastion", "ingress:\n- {service: bastion, originRequest: {ipRules: [{prefix: x}]}}\n",
			[]string{"Rule #1: ipRules has a malformed entry (unable to parse cidr: x); only the entries before it apply, " +
				"all other destinations are denied"},
		},
		{
			"inherited rules", "originRequest: {ipRules: [{prefix: x}]}\ningress:\n- service: socks-proxy\n",
			[]string{
				"Rule #1: ipRules has a malformed entry (unable to parse cidr: x); only the entries before it apply, all other destinations are denied",
				"The ipRules of the top-level originRequest apply to rule #1",
			},
		},
		{
			"inherited access without a team", "originRequest: {access: {required: true, audTag: [a]}}\ningress:\n- service: hello_world\n",
			[]string{
				"Rule #1: the inherited access settings have audTag but no teamName; all requests are refused",
				"The access settings of the top-level originRequest protect rule #1",
			},
		},
		{
			"proxyProtocol", "ingress:\n- {service: 'tcp://h:1', originRequest: {proxyProtocol: v3}}\n",
			[]string{`Rule #1: proxyProtocol "v3" is neither v1 nor v2; no PROXY protocol header is sent`},
		},
		{
			"warp-routing", "warp-routing: {proxyProtocol: v3, ipRules: [{prefix: x}]}\ningress:\n- service: hello_world\n",
			[]string{
				`warp-routing: proxyProtocol "v3" is neither v1 nor v2; no PROXY protocol header is sent`,
				"warp-routing: ipRules has a malformed entry (unable to parse cidr: x); only the entries before it apply, " +
					"all other destinations are denied",
			},
		},
		{
			"type of an extension", "ingress:\n- {service: 'tcp://h:1', originRequest: {responseHeaderTimeout: 5, proxyProtocol: [v1]}}\n",
			nil, // package cfdfile reports it
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			set, err := fromYAML(tt.yaml)
			if err != nil {
				t.Fatalf("Compile() = %v", err)
			}
			same(t, "warnings", set.Warnings(), tt.want)
		})
	}
}

func TestMalformedIPRuleDeniesWhatFollows(t *testing.T) {
	set, err := fromYAML(`
warp-routing:
  ipRules: [{prefix: 10.0.0.0/8, allow: true}, {prefix: x}, {prefix: 0.0.0.0/0, allow: true}]
ingress:
- service: bastion
  originRequest:
    ipRules: [{prefix: 10.0.0.0/8, allow: true}, {prefix: x}, {prefix: 0.0.0.0/0, allow: true}]
`)
	if err != nil {
		t.Fatal(err)
	}
	for what, rules := range map[string][]ingress.IPRule{"bastion": set.Rules[0].Origin.IPRules, "warp-routing": set.WarpRouting.IPRules} {
		if len(rules) == 0 {
			t.Fatalf("%s: an empty list allows everything", what)
		}
		policy := ingress.Policy{Rules: rules}
		if allowed, _ := policy.Decide(netip.MustParseAddr("10.1.1.1"), 1); !allowed {
			t.Errorf("%s: the entry before the malformed one does not apply", what)
		}
		if allowed, _ := policy.Decide(netip.MustParseAddr("192.0.2.1"), 1); allowed {
			t.Errorf("%s: the entry behind the malformed one applies", what)
		}
	}
	// Its own list is a fault of a socks-proxy rule, as in the reference.
	_, err = fromYAML("ingress:\n- {service: socks-proxy, originRequest: {ipRules: [{prefix: x}]}}\n")
	if err == nil || err.Error() != "unable to create ip rule for socks-proxy: unable to parse cidr: x" {
		t.Errorf("own malformed entry of socks-proxy: %v", err)
	}
}

func TestPushedPathsAreBounded(t *testing.T) {
	push := func(paths ...string) error {
		doc := ingress.Document{}
		for _, p := range paths {
			doc.Ingress = append(doc.Ingress, ingress.RuleSpec{Path: p, Service: "hello_world"})
		}
		doc.Ingress = append(doc.Ingress, ingress.RuleSpec{Service: "hello_world"})
		_, err := ingress.CompileRemote(doc)
		return err
	}
	huge := "(" + strings.Repeat("a", 3000) + "){1000}"
	if err := push(huge); err == nil || !strings.Contains(err.Error(), "Rule #1 has a path that is too large") {
		t.Errorf("path of three million instructions: %v", err)
	}
	half := "(" + strings.Repeat("a", 300) + "){1000}"
	if err := push(half); err != nil {
		t.Errorf("one path below the limit: %v", err)
	}
	if err := push(half, half); err == nil || !strings.Contains(err.Error(), "Rule #2 has a path that is too large") {
		t.Errorf("two paths above the limit together: %v", err)
	}
	if err := push(strings.Repeat("a", ingress.MaxPathText+1)); err == nil {
		t.Error("a text above the limit was accepted")
	}
	if err := push("[a-z"); err == nil || !strings.Contains(err.Error(), "has an invalid regex") {
		t.Errorf("syntax error: %v", err)
	}
	// The operator's own file is not limited: the reference runs it.
	_, err := ingress.Compile(ingress.Document{Ingress: []ingress.RuleSpec{
		{Path: strings.Repeat("a", ingress.MaxPathText+1), Service: "hello_world"}, {Service: "hello_world"},
	}})
	if err != nil {
		t.Errorf("long path of a local file: %v", err)
	}
}

func TestReportedAsTheReferenceDoes(t *testing.T) {
	set, err := fromYAML("ingress:\n- service: bastion\n")
	if err != nil {
		t.Fatal(err)
	}
	if got := at(report(t, set, nil), "ingress", 0, "originRequest", "bastionMode"); got != true {
		t.Errorf("bastionMode of the service bastion is reported as %v", got)
	}
	url := "localhost:8080/path?x=1"
	if set, err = ingress.SingleOrigin(ingress.SingleFlags{URL: &url}); err != nil {
		t.Fatal(err)
	}
	same(t, "service", set.Rules[0].Service.Text(), "http://localhost:8080/path")
	url = "http://localhost:8080/%zz"
	_, err = ingress.SingleOrigin(ingress.SingleFlags{URL: &url})
	if want := "Error validating origin URL: URL " + url + " has invalid escape characters "; err == nil || err.Error() != want {
		t.Errorf("broken escape: %v, want %q", err, want)
	}
}
