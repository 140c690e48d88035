package ingress_test

import (
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
