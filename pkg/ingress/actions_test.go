package ingress_test

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/ingress"
)

const someHash = "$2a$04$NTXwwoTF2f484AAamrajB.CK39VAab2iogZxW04hNx7Dd22vcCEgy"

// actionsOf compiles a rule with actions as JSON.
func actionsOf(t *testing.T, text string, remote bool) (*ingress.Set, error) {
	t.Helper()
	doc, err := ingress.ParseJSON([]byte(`{"ingress":[{"service":"http_status:204","actions":` + text + `}]}`))
	if err != nil {
		return nil, err
	}
	if remote {
		return ingress.CompileRemote(doc)
	}
	return ingress.Compile(doc)
}

func TestMalformedActions(t *testing.T) {
	for _, tc := range []struct{ json, want string }{
		{`{"ipRules":[{"prefix":"10.0.0.0/8","ports":[80]}]}`, "a visitor has no ports"},
		{`{"ipRules":[{"allow":true}]}`, "ipRules: 0: no prefix provided"},
		{`{"trustedHops":["10.0.0.1"]}`, "trustedHops: 0"},
		{`{"basicAuth":{"users":{}}}`, "users: there are none"},
		{`{"basicAuth":{"users":{"a":"secret"}}}`, `"a" has no bcrypt hash`},
		{`{"basicAuth":{"users":{"a":"` + strings.Replace(someHash, "$04$", "$20$", 1) + `"}}}`, "cost above 14"},
		{`{"basicAuth":{"realm":"a\"b","users":{"a":"` + someHash + `"}}}`, "realm"},
		{`{"limits":{"rate":0}}`, "requests per second"},
		{`{"limits":{"burst":3}}`, "a burst without a rate"},
		{`{"limits":{"inFlightPerClient":0}}`, "0 requests in progress"},
		{`{"maxBody":-1}`, "maxBody: -1 is negative"},
		{`{"timeout":"-1s"}`, "timeout: -1s"},
		{`{"redirect":{"to":"evil"}}`, "neither a URL nor a path"},
		{`{"redirect":{"to":"{path}"}}`, "neither a URL nor a path"},
		{`{"redirect":{"to":"/x{cookie}"}}`, `"{cookie}" is no variable`},
		{`{"redirect":{"to":"/","status":200}}`, "200 is no redirect"},
		{`{"redirect":{"to":"/"},"respond":{}}`, "exclude each other"},
		{`{"respond":{"status":101}}`, "respond: status: 101"},
		{`{"respond":{"file":"down.html"}}`, "no absolute path"},
		{`{"respond":{"file":"/a","body":"b"}}`, "a body beside it"},
		{`{"stripPrefix":"api"}`, "stripPrefix"},
		{`{"rewrite":{"from":"(","to":"x"}}`, "rewrite: from"},
		{`{"requestHeaders":{"set":{"Host":"x"}}}`, "use httpHostHeader"},
		{`{"requestHeaders":{"remove":["Connection"]}}`, "belongs to the connection"},
		{`{"requestHeaders":{"set":{"Cf-Warp-Tag-Id":"x"}}}`, "belongs to the connection or to the tunnel"},
		{`{"responseHeaders":{"add":{"Content-Length":"1"}}}`, "belongs to the connection"},
		{`{"responseHeaders":{"add":{"X Y":"1"}}}`, "not usable as a header"},
	} {
		if _, err := actionsOf(t, tc.json, true); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s pushed: %v, want %q", tc.json, err, tc.want)
		}
		set, err := actionsOf(t, tc.json, false)
		if err != nil {
			t.Errorf("%s in a local file: %v, want a warning", tc.json, err)
			continue
		}
		if w := strings.Join(set.Warnings(), " "); set.Rules[0].Closed == "" || !strings.Contains(w, tc.want) {
			t.Errorf("%s: closed %q, warnings %q, want %q", tc.json, set.Rules[0].Closed, w, tc.want)
		}
	}
	if _, err := actionsOf(t, `{"basicAut":{}}`, false); err == nil || !strings.Contains(err.Error(), "basicAut") {
		t.Errorf("unknown key: %v", err)
	}
}

func TestActionsDefaults(t *testing.T) {
	set, err := actionsOf(t, `{"limits":{"rate":2.5},"timeout":90,"redirect":{"to":"/"},"basicAuth":{"users":{"a":"`+someHash+`"}}}`, true)
	if err != nil {
		t.Fatal(err)
	}
	a := set.Rules[0].Actions
	same(t, "limits", a.Limits, ingress.Limits{All: ingress.Limit{Rate: 2.5, Burst: 5}})
	if a.MaxBody != -1 || a.Timeout != 90*time.Second || a.Status != 308 || a.Realm != "restricted" {
		t.Errorf("actions %+v", a)
	}
	if b, err := set.ReportJSON(nil); err != nil || strings.Contains(string(b), "$2a$") {
		t.Errorf("the report to the edge holds a hash, or fails: %s, %v", b, err)
	}
	if b, err := set.ConfigJSON(1); err != nil || strings.Contains(string(b), "$2a$") {
		t.Errorf("/config holds a hash, or fails: %s, %v", b, err)
	}
}

// FuzzActions compiles arbitrary actions and applies them: no path loses its slash, no visitor is made up.
func FuzzActions(f *testing.F) {
	f.Add(`{"stripPrefix":"/a","rewrite":{"from":"x","to":"$0"}}`, "/a/x", "10.0.0.1, x")
	f.Add(`{"redirect":{"to":"/{path}{query}"},"trustedHops":["0.0.0.0/0"]}`, "//e", "1.2.3.4")
	f.Fuzz(func(t *testing.T, actions, path, forwarded string) {
		if !strings.HasPrefix(path, "/") {
			return
		}
		set, err := actionsOf(t, actions, true)
		if err != nil || set.Rules[0].Actions == nil {
			return
		}
		a := set.Rules[0].Actions
		if raw, decoded := a.Path(path, path); !strings.HasPrefix(decoded, "/") || raw != "" && !strings.HasPrefix(raw, "/") {
			t.Errorf("path %q, %q", raw, decoded)
		}
		if a.Status >= 300 && a.Type == "" {
			if to := a.Location(&ingress.Variables{Path: path}); strings.HasPrefix(to, "//") {
				t.Errorf("redirect to another host: %q", to)
			}
		}
		direct := netip.AddrFrom4([4]byte{10, 0, 0, 1})
		if v := a.Visitor(direct, []string{forwarded}); v.IsValid() && v != direct && !strings.Contains(forwarded, v.String()) {
			if p, err := netip.ParseAddr(strings.TrimSpace(forwarded)); err == nil && p.Unmap() != v {
				t.Errorf("visitor %v of %q", v, forwarded)
			}
		}
	})
}
