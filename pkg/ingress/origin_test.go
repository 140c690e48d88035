package ingress_test

import (
	"encoding/json"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/ingress"
)

type originCase struct {
	Name      string         `json:"name"`
	Input     string         `json:"input"`
	YAML      string         `json:"yaml"`
	JSON      string         `json:"json"`
	OK        *bool          `json:"ok"`
	ErrorText string         `json:"error_text"`
	Defaults  map[string]any `json:"defaults"`
	Warp      struct {
		ConnectTimeout float64 `json:"connectTimeout"`
		TCPKeepAlive   float64 `json:"tcpKeepAlive"`
		MaxActiveFlows uint64  `json:"MaxActiveFlows"`
	} `json:"warp_routing"`
	WarpReported map[string]any `json:"warp_routing_reported"`
	Rules        []struct {
		Effective  map[string]any `json:"effective"`
		IPRules    []string       `json:"ip_rules"`
		Endpoint   map[string]any `json:"config_endpoint_originRequest"`
		Reported   map[string]any `json:"reported_to_edge"`
		Middleware []string       `json:"middleware"`
		Service    string         `json:"service"`
	} `json:"rules"`
}

func TestOriginRequestVectors(t *testing.T) {
	// docs/spec/ingress.md D3: the top-level access protects the rules without their own; the reference shows it and ignores it.
	protected := map[string][]int{
		"every key at top level":                    {0, 1},
		"access override replaces the whole object": {2},
	}
	// A number that no duration holds is cut to the largest one instead of wrapping around to a negative limit (2.6).
	saturated := "json duration overflow wraps"

	for _, c := range load[struct{ Cases []originCase }](t, "origin_request").Cases {
		t.Run(c.Name, func(t *testing.T) {
			set, err := c.compile()
			if c.OK != nil && !*c.OK {
				checkJSONError(t, err, c.ErrorText)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if c.Name == saturated {
				top := time.Duration(math.MaxInt64).Seconds()
				c.Defaults["connectTimeout"] = top
				for i := range c.Rules {
					c.Rules[i].Effective["connectTimeout"] = top
					c.Rules[i].Endpoint["connectTimeout"] = top
					c.Rules[i].Reported["connectTimeout"] = top
				}
			}
			for _, i := range protected[c.Name] {
				if len(c.Rules[i].Middleware) > 0 {
					t.Errorf("rule %d is no difference", i)
				}
				c.Rules[i].Middleware = []string{"AccessJWTValidator"}
			}
			c.check(t, set)
		})
	}
}

func (c *originCase) compile() (*ingress.Set, error) {
	if c.Input == "yaml" {
		return fromYAML(c.YAML)
	}
	doc, err := ingress.ParseJSON([]byte(c.JSON))
	if err != nil {
		return nil, err
	}
	return ingress.CompileRemote(doc)
}

func (c *originCase) check(t *testing.T, set *ingress.Set) {
	t.Helper()
	reported := report(t, set, nil)
	live := blankIPRules(endpoint(t, set, 0))
	same(t, "defaults", at(live, "config", "originRequest"), any(c.Defaults))
	same(t, "warp-routing", set.WarpRouting, ingress.WarpRouting{
		ConnectTimeout: time.Duration(c.Warp.ConnectTimeout * float64(time.Second)),
		TCPKeepAlive:   time.Duration(c.Warp.TCPKeepAlive * float64(time.Second)),
		MaxActiveFlows: c.Warp.MaxActiveFlows,
	})
	same(t, "reported warp-routing", reported["warp-routing"], any(c.WarpReported))
	same(t, "warp-routing of /config", at(live, "config", "warp-routing"), any(c.WarpReported))
	if len(c.Rules) == 0 {
		// An empty push gives the default rule, which the reference's recorder did not list.
		same(t, "default rule", set.Rules[0].Service.Text(), "http_status:503")
		return
	}
	for i, want := range c.Rules {
		r := &set.Rules[i]
		same(t, "service", r.Service.Text(), want.Service)
		same(t, "middleware", middleware(r), want.Middleware)
		texts := []string{}
		for _, rule := range r.Origin.IPRules {
			texts = append(texts, rule.Text())
		}
		same(t, "ip rules", texts, want.IPRules)
		same(t, "report", at(reported, "ingress", i, "originRequest"), any(want.Reported))
		got := at(live, "config", "ingress", i, "originRequest").(map[string]any)
		same(t, "endpoint", got, want.Endpoint)
		delete(got, "ipRules")
		same(t, "effective", got, want.Effective)
	}
}

// checkJSONError compares texts up to the language's own type names, which are no promise.
func checkJSONError(t *testing.T, err error, want string) {
	t.Helper()
	if err == nil {
		t.Fatalf("no error, want %q", want)
	}
	head, _, _ := strings.Cut(want, " into Go ")
	if !strings.HasPrefix(err.Error(), head) {
		t.Errorf("error %q, want %q", err, want)
	}
}

func TestEndpointShowsIPRulesAndHidesPasswords(t *testing.T) { // docs/spec/ingress.md D27
	set, err := fromYAML(`
ingress:
- service: http://user:secret@localhost:1
  path: ""
  originRequest:
    responseHeaderTimeout: 2s
    ipRules: [{prefix: 10.0.0.0/8, ports: [80, 22], allow: true}, {prefix: "fc00::/7"}]
`)
	if err != nil {
		t.Fatal(err)
	}
	live := endpoint(t, set, 7)
	same(t, "version", live["version"], any(float64(7)))
	rule := at(live, "config", "ingress", 0)
	same(t, "service", at(rule, "service"), any("http://user:xxxxx@localhost:1"))
	same(t, "responseHeaderTimeout", at(rule, "originRequest", "responseHeaderTimeout"), any(2.0))
	same(t, "ipRules", at(rule, "originRequest", "ipRules"), any([]any{
		map[string]any{"prefix": "10.0.0.0/8", "ports": []any{22.0, 80.0}, "allow": true},
		map[string]any{"prefix": "fc00::/7", "ports": nil, "allow": false},
	}))
	if strings.Contains(set.Rules[0].Service.String(), "secret") {
		t.Error("String() shows the password")
	}
}

func TestJSONDurations(t *testing.T) {
	for text, want := range map[string]string{
		`"1m30s"`: "1m30s", `"-5s"`: "-5s", `7`: "7s", `-7`: "-7s", `null`: "30s",
		`9223372037`: time.Duration(math.MaxInt64).String(), `-9223372037`: time.Duration(math.MinInt64).String(),
		`"30"`: "!", `"1d"`: "!", `""`: "!", `true`: "!", `[1]`: "!", `99999999999999999999`: "!",
	} {
		doc, err := ingress.ParseJSON([]byte(`{"originRequest":{"connectTimeout":` + text + `}}`))
		if want == "!" {
			if err == nil {
				t.Errorf("%s is accepted", text)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		set, err := ingress.CompileRemote(doc)
		if err != nil || set.OriginRequest.ConnectTimeout.String() != want {
			t.Errorf("%s = %v, %v, want %s", text, set.OriginRequest.ConnectTimeout, err, want)
		}
	}
}

func TestProxyTypeOtherThanSocksIsNone(t *testing.T) {
	set, err := fromYAML("originRequest: {proxyType: socks}\ningress:\n- {service: tcp://a, originRequest: {proxyType: http}}\n")
	if err != nil || set.Rules[0].Origin.ProxyType != "" || set.OriginRequest.ProxyType != "socks" {
		t.Fatalf("%+v, %v", set, err)
	}
}

func TestTopLevelProtectionIsInherited(t *testing.T) { // docs/spec/ingress.md D3
	set, err := fromYAML(`
originRequest:
  access: {required: true, teamName: t, audTag: [a]}
  ipRules: [{prefix: 10.0.0.0/8, allow: true}]
ingress:
- {hostname: a.example, service: socks-proxy}
- {hostname: b.example, service: bastion, originRequest: {access: {required: false}}}
- service: http_status:404
`)
	if err != nil {
		t.Fatal(err)
	}
	if len(set.Rules[0].Origin.IPRules) != 1 || len(set.Rules[1].Origin.IPRules) != 1 {
		t.Error("ipRules are not inherited")
	}
	if !set.Rules[0].Origin.Access.Required || set.Rules[1].Origin.Access.Required || !set.Rules[2].Origin.Access.Required {
		t.Error("access is not inherited")
	}
	same(t, "warnings", set.Warnings(), []string{
		"The access settings of the top-level originRequest protect rule #1, rule #3",
		"The ipRules of the top-level originRequest apply to rule #1, rule #2",
	})
	set, err = fromYAML("originRequest: {ipRules: [{prefix: x}]}\ningress:\n- service: hello_world\n")
	if err != nil || len(set.Rules[0].Origin.IPRules) != 0 {
		t.Errorf("malformed top-level entry that nothing uses: %v, %v", set, err)
	}
}

func TestWarnings(t *testing.T) { // docs/spec/ingress.md D1, D28
	set, err := fromYAML(`
ingress:
- {hostname: a.example.com, service: hello_world}
- {hostname: A.Example.com., service: hello_world}
- {hostname: "*.example.net", path: ^/x, service: hello_world}
- {hostname: b.example.net, path: ^/x, service: hello_world}
- {hostname: "*.example.org", service: hello_world}
- {hostname: c.b.example.org, path: ^/x, service: hello_world}
- {hostname: "*.d.example.org", service: hello_world}
- {hostname: example.org, service: hello_world}
- {hostname: a.example.com, path: ^/x, service: hello_world}
- {path: ^/x, service: hello_world}
- service: http_status:404
`)
	if err != nil {
		t.Fatal(err)
	}
	same(t, "warnings", set.Warnings(), []string{
		"Rule #2 has the same hostname and path as rule #1 and is never triggered",
		"Rule #6 is never triggered: rule #5 (hostname '*.example.org') comes first and matches all its requests",
		"Rule #7 is never triggered: rule #5 (hostname '*.example.org') comes first and matches all its requests",
		"Rule #9 is never triggered: rule #1 (hostname 'a.example.com') comes first and matches all its requests",
	})
}

// TestReportRoundTrip checks that the edge's report, read back, gives the same effective settings.
func TestReportRoundTrip(t *testing.T) {
	set, err := fromYAML(`
originRequest: {noTLSVerify: true, connectTimeout: 5s, ipRules: [{prefix: 10.0.0.0/8, ports: [1], allow: true}]}
ingress:
- {hostname: a.example, path: ^/x, service: https://localhost:1, originRequest: {access: {required: true, teamName: t}}}
- service: http_status:404
`)
	if err != nil {
		t.Fatal(err)
	}
	b, err := set.ReportJSON(nil)
	if err != nil {
		t.Fatal(err)
	}
	doc, err := ingress.ParseJSON(b)
	if err != nil {
		t.Fatal(err)
	}
	again, err := ingress.Compile(doc)
	if err != nil {
		t.Fatal(err)
	}
	for i := range set.Rules {
		same(t, "rule", again.Rules[i].Origin, set.Rules[i].Origin)
	}
	if !json.Valid(b) {
		t.Error("report is not JSON")
	}
}
