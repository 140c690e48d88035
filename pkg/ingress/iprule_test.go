package ingress_test

import (
	"net/netip"
	"testing"

	"github.com/culvert-tunnel/culvert/pkg/ingress"
)

type ipRuleEntry struct {
	Prefix    *string `json:"prefix"`
	Ports     []int   `json:"ports"`
	Allow     bool    `json:"allow"`
	OK        bool    `json:"ok"`
	ErrorText string  `json:"error_text"`
}

func TestIPRuleVectors(t *testing.T) {
	file := load[struct {
		Cases struct {
			Construction []ipRuleEntry `json:"construction"`
			Decisions    []struct {
				Name         string        `json:"name"`
				DefaultAllow bool          `json:"default_allow"`
				Rules        []ipRuleEntry `json:"rules"`
				Queries      []struct {
					IP      string  `json:"ip"`
					Port    int     `json:"port"`
					Allowed bool    `json:"allowed"`
					Rule    *string `json:"rule"`
				} `json:"queries"`
			} `json:"decisions"`
		} `json:"cases"`
	}](t, "ip_rules")
	for _, c := range file.Cases.Construction {
		_, err := ingress.ParseIPRule(ingress.IPRuleSpec{Prefix: c.Prefix, Ports: c.Ports})
		if (err == nil) != c.OK || (err != nil && err.Error() != c.ErrorText) {
			t.Errorf("ParseIPRule(%+v) = %v, want %q", c, err, c.ErrorText)
		}
	}
	if len(file.Cases.Construction) == 0 || len(file.Cases.Decisions) == 0 {
		t.Fatal("no cases")
	}
	for _, c := range file.Cases.Decisions {
		t.Run(c.Name, func(t *testing.T) {
			policy := ingress.Policy{DefaultAllow: c.DefaultAllow}
			for _, entry := range c.Rules {
				rule, err := ingress.ParseIPRule(ingress.IPRuleSpec{Prefix: entry.Prefix, Ports: entry.Ports, Allow: entry.Allow})
				if err != nil {
					t.Fatal(err)
				}
				policy.Rules = append(policy.Rules, rule)
			}
			for _, q := range c.Queries {
				allowed, rule := policy.Decide(netip.MustParseAddr(q.IP), q.Port)
				if allowed != q.Allowed || (rule == nil) != (q.Rule == nil) || (rule != nil && rule.Text() != *q.Rule) {
					t.Errorf("Decide(%s, %d) = %v, %v, want %+v", q.IP, q.Port, allowed, rule, q)
				}
			}
		})
	}
}

func TestIPRulePrefixForms(t *testing.T) {
	for text, want := range map[string]string{
		"10.0.0.0/08":                    "10.0.0.0/8",
		"::ffff:10.0.0.0/95":             "::fffe:0:0/95",
		"10.0.0.0/+8":                    "",
		"10.0.0.0/":                      "",
		"10.0.0.0/999999999999999999999": "",
	} {
		rule, err := ingress.ParseIPRule(ingress.IPRuleSpec{Prefix: &text})
		if (err == nil) != (want != "") || (err == nil && rule.Prefix.String() != want) {
			t.Errorf("%q = %v, %v, want %q", text, rule.Prefix, err, want)
		}
	}
	if got := (ingress.IPRule{}).Text(); got != "prefix:<nil>/port:all/allow:false" {
		t.Errorf("blank entry = %q", got)
	}
	if allowed, rule := (ingress.Policy{Rules: []ingress.IPRule{{Allow: true}}}).Decide(
		netip.MustParseAddr("::1"),
		1,
	); allowed ||
		rule != nil {
		t.Error("a blank entry contains an address")
	}
}
