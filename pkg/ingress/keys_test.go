package ingress_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/culvert-tunnel/culvert/pkg/ingress"
)

func given[T any](v T) *T { return &v }

func TestParseRuleKeys(t *testing.T) {
	got, err := ingress.ParseRuleKeys(map[string]string{
		"hostname":                            "a.example.com",
		"originRequest.noTLSVerify":           "true",
		"originrequest.CONNECTTIMEOUT":        "5s",
		"originRequest.tlsTimeout":            "7",
		"originRequest.keepAliveConnections":  "3",
		"originRequest.access.required":       "true",
		"originRequest.access.audTag":         "one, two",
		"originRequest.ipRules":               `[{"prefix":"10.0.0.0/8","allow":true}]`,
		"actions.stripPrefix":                 "/api",
		"actions.requestHeaders.set.X-A.B":    "c",
		"actions.basicAuth.users.ann":         "$2y$10$abc",
		"actions.limits":                      `{"rate":2.5}`,
		"balance.policy":                      "hash",
		"balance.slowStart":                   "1m",
		"match.methods":                       "GET,POST",
		"originRequest.responseHeaderTimeout": "1m30s",
	})
	if err != nil {
		t.Fatal(err)
	}
	want := ingress.RuleSpec{
		Hostname: "a.example.com",
		OriginRequest: ingress.OriginSpec{
			NoTLSVerify: given(true), ConnectTimeout: given(5 * time.Second), TLSTimeout: given(7 * time.Second),
			KeepAliveConnections: given(3), ResponseHeaderTimeout: given(90 * time.Second),
			Access:  &ingress.AccessSpec{Required: true, AudTag: []string{"one", "two"}},
			IPRules: []ingress.IPRuleSpec{{Prefix: given("10.0.0.0/8"), Allow: true}},
		},
		Actions: &ingress.ActionsSpec{
			StripPrefix:    "/api",
			RequestHeaders: &ingress.HeadersSpec{Set: map[string]string{"X-A.B": "c"}},
			BasicAuth:      &ingress.BasicAuthSpec{Users: map[string]string{"ann": "$2y$10$abc"}},
			Limits:         &ingress.LimitsSpec{Rate: given(2.5)},
		},
		Balance: &ingress.BalanceSpec{Policy: "hash", Slow: given(ingress.Duration(time.Minute))},
		Match:   &ingress.MatchSpec{Methods: []string{"GET", "POST"}},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestParseRuleKeysFaults(t *testing.T) {
	for name, tc := range map[string]struct {
		keys map[string]string
		err  string
	}{
		"unknown":             {map[string]string{"originRequest.noTLSverif": "true"}, "originRequest.noTLSverif: there is no such key"},
		"unknown at the top":  {map[string]string{"acess.required": "true"}, "acess.required: there is no such key"},
		"below a text":        {map[string]string{"hostname.x": "y"}, "hostname.x: there is no such key"},
		"no boolean":          {map[string]string{"originRequest.noTLSVerify": "yes"}, `"yes" is no true or false`},
		"no number":           {map[string]string{"originRequest.keepAliveConnections": "many"}, `"many" is no whole number`},
		"no duration":         {map[string]string{"originRequest.connectTimeout": "soon"}, `invalid duration "soon"`},
		"no JSON":             {map[string]string{"actions": "stripPrefix=/api"}, "its text must be JSON"},
		"unknown key in JSON": {map[string]string{"actions": `{"strip":"/api"}`}, `unknown field "strip"`},
		"whole and part":      {map[string]string{"actions": `{}`, "actions.maxBody": "1"}, "given twice"},
		"twice": {
			map[string]string{"originRequest.notlsverify": "true", "originRequest.noTLSVerify": "false"}, "given twice",
		},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := ingress.ParseRuleKeys(tc.keys); err == nil || !strings.Contains(err.Error(), tc.err) {
				t.Errorf("error %v, want %q", err, tc.err)
			}
		})
	}
}

// FuzzParseRuleKeys reads any key with any text: it never panics, and what it accepts can be written as JSON.
func FuzzParseRuleKeys(f *testing.F) {
	f.Add("originRequest.noTLSVerify", "true")
	f.Add("actions.requestHeaders.set.X-A", "b")
	f.Add("originRequest.ipRules", `[{"prefix":"::/0"}]`)
	f.Add("services", "http://a, http://b")
	f.Add("...", "")
	f.Fuzz(func(t *testing.T, key, text string) {
		spec, err := ingress.ParseRuleKeys(map[string]string{key: text})
		if err != nil {
			return
		}
		if _, err := json.Marshal(spec); err != nil {
			t.Errorf("%q=%q: %v", key, text, err)
		}
	})
}
