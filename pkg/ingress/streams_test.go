package ingress_test

import (
	"strings"
	"testing"

	"github.com/culvert-tunnel/culvert/pkg/ingress"
	"github.com/culvert-tunnel/culvert/pkg/wire/proxyproto"
)

func TestStreamSettings(t *testing.T) {
	set, err := fromYAML(`
warp-routing:
  proxyProtocol: v2
  ipRules: [{prefix: 10.0.0.0/8, ports: [22], allow: true}]
originRequest: {proxyProtocol: v1}
ingress:
- {hostname: a.test, service: tcp://a}
- {hostname: b.test, service: tcp://b, originRequest: {proxyProtocol: ""}}
- {service: tcp://c, originRequest: {proxyProtocol: v2}}
`)
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []proxyproto.Version{proxyproto.V1, proxyproto.None, proxyproto.V2} {
		if got := set.Rules[i].Origin.ProxyProtocol; got != want {
			t.Errorf("rule %d: proxyProtocol %q, want %q", i, got, want)
		}
	}
	w := set.WarpRouting
	if w.ProxyProtocol != proxyproto.V2 || len(w.IPRules) != 1 || w.IPRules[0].Text() != "prefix:10.0.0.0/8/port:[22]/allow:true" {
		t.Errorf("warp routing %+v", w)
	}
	report, err := set.ReportJSON(nil)
	if err != nil {
		t.Fatal(err)
	}
	again, err := ingress.ParseJSON(report)
	if err != nil {
		t.Fatal(err)
	}
	remote, err := ingress.CompileRemote(again)
	if err != nil {
		t.Fatal(err)
	}
	if second, _ := remote.ReportJSON(nil); string(second) != string(report) {
		t.Errorf("report %s, and read again %s", report, second)
	}
}

func TestStreamSettingsRefused(t *testing.T) {
	for _, tc := range []struct{ name, text, want string }{
		{"of a rule", "ingress: [{service: tcp://a, originRequest: {proxyProtocol: v3}}]", `proxyProtocol "v3": unknown`},
		{"of the top level", "originRequest: {proxyProtocol: x}\ningress: [{service: tcp://a}]", `proxyProtocol "x": unknown`},
		{"of warp-routing", "warp-routing: {proxyProtocol: x}\ningress: [{service: tcp://a}]", `warp-routing: proxyProtocol "x"`},
		{"rules of warp-routing", "warp-routing: {ipRules: [{prefix: x, allow: true}]}\ningress: [{service: tcp://a}]", "unable to create ip rule for warp-routing: unable to parse cidr: x"},
	} {
		if _, err := fromYAML(tc.text); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v, want %q", tc.name, err, tc.want)
		}
	}
	doc, err := ingress.ParseJSON([]byte(`{"warp-routing":{"proxyProtocol":"v9"}}`))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ingress.CompileRemote(doc); err == nil {
		t.Error("a pushed document with an unknown version was accepted")
	}
}
