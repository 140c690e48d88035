package ingress_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/culvert-tunnel/culvert/pkg/ingress"
)

func TestMatchingVectors(t *testing.T) {
	type request struct {
		Host    string `json:"host"`
		Path    string `json:"path"`
		Rule    int    `json:"rule"`
		Service string `json:"service"`
	}
	file := load[struct {
		Cases []struct {
			Name     string    `json:"name"`
			YAML     string    `json:"yaml"`
			Internal []string  `json:"internal_rules"`
			Requests []request `json:"requests"`
		}
	}](t, "matching")

	// docs/spec/ingress.md D1: lower case, one trailing dot, punycode both ways, second form of wildcards. Case, host -> rule.
	differs := map[string]map[string]int{
		"basic": {"TUNNEL-A.example.com": 0, "Tunnel-A.Example.Com:8443": 0, "tunnel-a.example.com.:80": 0},
		"wildcards": {
			"a.example.com.": 0,
		},
		"idn": {
			"MÔÔ.cloudflare.com": 0, "mo\u0302o\u0302.cloudflare.com": 0, "x.xn--bcher-kva.example": 2,
			"Www.example.com": 3, "a.mixed.example": 4, "例え。テスト": 6, "dot.example": 7, "_SRV.example.com": 8,
		},
		"ip literals":          {"LOCALHOST": 3},
		"internal rules first": {"MANAGEMENT.argotunnel.com": -1},
	}
	for _, c := range file.Cases {
		t.Run(c.Name, func(t *testing.T) {
			set, err := fromYAML(c.YAML)
			if err != nil {
				t.Fatal(err)
			}
			set = set.WithInternal(c.Internal...)
			left := differs[c.Name]
			for _, r := range c.Requests {
				want, service := r.Rule, r.Service
				if i, ok := differs[c.Name][r.Host]; ok {
					if want == i {
						t.Errorf("%q is no difference", r.Host)
					}
					want, service = i, "management"
					if i >= 0 {
						service = set.Rules[i].Service.Text()
					}
					delete(left, r.Host)
				}
				rule, i := set.Match(r.Host, r.Path)
				if i != want || rule.Service.Text() != service {
					t.Errorf("Match(%q, %q) = rule %d %s, want %d %s", r.Host, r.Path, i, rule.Service.Text(), want, service)
				}
			}
			if len(left) > 0 {
				t.Errorf("differences without a request: %v", left)
			}
		})
	}
}

// TestMatchIsFirstMatch compares the index with the plain walk over all rules that it stands for.
func TestMatchIsFirstMatch(t *testing.T) {
	hosts := []string{"", "a.b.c", "b.c", "*.b.c", "*.c", "*.", "*", "c"}
	paths := []string{"", "^/x", "y$"}
	var rules []ingress.RuleSpec
	for i := range 200 {
		h, p := hosts[(i*7)%len(hosts)], paths[(i*5+i/8)%len(paths)]
		if (h == "" || h == "*") && p == "" {
			p = "z"
		}
		rules = append(rules, ingress.RuleSpec{Hostname: h, Path: p, Service: fmt.Sprintf("http_status:%d", 200+i)})
	}
	for start := range rules {
		list := append(append([]ingress.RuleSpec{}, rules[start:]...), ingress.RuleSpec{Service: "http_status:404"})
		set, err := ingress.Compile(ingress.Document{Ingress: list})
		if err != nil {
			t.Fatal(err)
		}
		for _, host := range []string{"", "a.b.c", "b.c", "x.b.c", "c", "y.c", "other", "dot.", "."} {
			for _, path := range []string{"/", "/x", "/y", "/x/y", "/z"} {
				if _, got := set.Match(host, path); got != walk(set, host, path) {
					t.Fatalf("from %d: Match(%q, %q) = %d, want %d", start, host, path, got, walk(set, host, path))
				}
			}
		}
	}
}

func walk(set *ingress.Set, host, path string) int {
	for i := range set.Rules {
		h := set.Rules[i].Hostname
		suffix, wildcard := strings.CutPrefix(h, "*")
		fits := h == "" || h == "*" || h == host || (wildcard && suffix != "" && strings.HasSuffix(host, suffix))
		if fits && set.Rules[i].MatchPath(path) {
			return i
		}
	}
	return len(set.Rules) - 1
}

func TestHostForms(t *testing.T) {
	set, err := fromYAML(`
ingress:
- {hostname: "*.bücher.example", service: http_status:200}
- {hostname: bücher.example, service: http_status:201}
- {hostname: "b_ü.example", service: http_status:202}
- {hostname: "\xff.example", service: http_status:203}
- service: http_status:404
`)
	if err != nil {
		t.Fatal(err)
	}
	long := strings.Repeat("ü", 2000)
	for host, want := range map[string]int{
		"x.BÜCHER.example.":           0,
		"x_y.bücher.example":          0, // a label that IDNA refuses does not spoil the rest
		"x.XN--BCHER-KVA.ExAmPlE:443": 0,
		"Bücher.Example":              1,
		"b_Ü.example":                 2,
		"ÿ.example":                   3,
		long + ".example":             4,
		"\xff\xfe.example":            4,
		"[bücher.example]:80":         1,
		"[[bücher.example]:80":        4,
		"[::1]:80]":                   4,
		"[a]b:80":                     4,
		"a]:80":                       4,
	} {
		if _, got := set.Match(host, "/"); got != want {
			t.Errorf("Match(%q) = %d, want %d", host, got, want)
		}
	}
}

func TestConflicts(t *testing.T) {
	set, err := fromYAML(`
ingress:
- {hostname: a.example, path: ^/admin/, service: "http://localhost:1", originRequest: {access: {required: true, teamName: t, audTag: [x]}}}
- {hostname: a.example, path: ^/public, service: "http://localhost:1"}
- {hostname: b.example, path: ^/one, service: "http://localhost:1"}
- {hostname: b.example, service: "http://localhost:2"}
- service: http_status:404
`)
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		host, path string
		want       bool
	}{
		{"a.example", "/public/../admin/x", true},
		{"A.example.:80", "/public/../admin/x", true},
		{"a.example", "/public/./../admin/x", true},
		{"a.example", "//admin/x", true},
		{"a.example", "/admin/../public", true}, // leaving the protected rule is no better
		{"a.example", "/public/x/../y", false},
		{"a.example", "/public//x", false},
		{"a.example", "/public/admin/x", false},
		{"a.example", "/public/..", false},
		{"a.example", "/public/../admin/.", true},
		{"a.example", "/public/../admin", false}, // is not under /admin/
		{"a.example", "/public//../../admin/", true},
		{"a.example", "/admin/x/..", false},
		{"b.example", "/one/../two", false}, // none of the two is protected
		{"a.example", "*", false},
		{"a.example", "public/../admin/", false},
	}
	for _, tt := range tests {
		_, i := set.Match(tt.host, tt.path)
		if got := set.Conflicts(ingress.Get(tt.host, tt.path), i); got != tt.want {
			t.Errorf("Conflicts(%q, %q, %d) = %v, want %v", tt.host, tt.path, i, got, tt.want)
		}
	}
	open, err := fromYAML("ingress:\n- {path: ^/public, service: hello_world}\n- service: http_status:404\n")
	if err != nil {
		t.Fatal(err)
	}
	if open.Conflicts(ingress.Get("a.example", "/public/../x"), 0) {
		t.Error("Conflicts without a protected rule")
	}
}

// bigSet has rules for n hosts and n wildcards.
func bigSet(tb testing.TB, n int) *ingress.Set {
	tb.Helper()
	var doc ingress.Document
	for i := range n {
		doc.Ingress = append(doc.Ingress,
			ingress.RuleSpec{Hostname: fmt.Sprintf("h%d.example.com", i), Service: "http://localhost:1"},
			ingress.RuleSpec{Hostname: fmt.Sprintf("*.w%d.example.com", i), Path: "^/api/", Service: "http://localhost:1"})
	}
	doc.Ingress = append(doc.Ingress, ingress.RuleSpec{Service: "http_status:404"})
	set, err := ingress.Compile(doc)
	if err != nil {
		tb.Fatal(err)
	}
	return set
}

func TestMatchAllocatesNothing(t *testing.T) {
	set := bigSet(t, 1000).WithInternal("management.example.com")
	for _, host := range []string{"h999.example.com", "h999.example.com:443", "x.w999.example.com", "other.example.com.", "[::1]:80"} {
		if n := testing.AllocsPerRun(100, func() { set.Match(host, "/api/x") }); n != 0 {
			t.Errorf("Match(%q) allocates %v times", host, n)
		}
	}
}

// BenchmarkMatch matches the last host, the last wildcard, and a host that only the last rule has, among 10, 1,000 and 10,000 rules.
func BenchmarkMatch(b *testing.B) {
	for _, n := range []int{10, 1000, 10_000} {
		set, last := bigSet(b, n/2), n/2-1
		for _, c := range []struct{ name, host string }{
			{"exact", fmt.Sprintf("h%d.example.com", last)}, {"wildcard", fmt.Sprintf("x.w%d.example.com", last)}, {"none", "a.b.example.org"},
		} {
			b.Run(fmt.Sprintf("%d/%s", n, c.name), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					set.Match(c.host, "/api/x")
				}
			})
		}
	}
}
