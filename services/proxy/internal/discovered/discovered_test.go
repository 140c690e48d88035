package discovered_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/culvert-tunnel/culvert/pkg/ingress"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
	"github.com/culvert-tunnel/culvert/services/proxy/internal/discovered"
)

func compile(t *testing.T, rules ...ingress.RuleSpec) *ingress.Set {
	t.Helper()
	set, err := ingress.Compile(ingress.Document{Ingress: rules})
	if err != nil {
		t.Fatal(err)
	}
	return set
}

func rule(hostname, path, service string) ingress.RuleSpec {
	return ingress.RuleSpec{Hostname: hostname, Path: path, Service: service}
}

func route(from string, spec ingress.RuleSpec) discovered.Route {
	return discovered.Route{From: from, Key: "k", Spec: spec}
}

// texts shows the rules of a set in one line each.
func texts(set *ingress.Set) []string {
	var out []string
	for i := range set.Rules {
		r := &set.Rules[i]
		text := r.Hostname + r.Path + " " + r.Service.Text()
		for _, t := range r.Targets[min(1, len(r.Targets)):] {
			text += " " + t.Service.Text()
		}
		out = append(out, text)
	}
	return out
}

func faults(m discovered.Merged) []string {
	out := []string{}
	for _, f := range m.Faults {
		out = append(out, f.From+": "+f.Text)
	}
	return out
}

// TestOrder: the file's rules come first, then what was found by its own order, then the file's last rule.
func TestOrder(t *testing.T) {
	set := compile(t, rule("file.example.com", "", "http://127.0.0.1:1"), rule("", "^/health", "http_status:200"),
		rule("", "", "http_status:404"))
	first := route("z", rule("wins.example.com", "", "http://z:1"))
	first.Priority = 1
	routes := []discovered.Route{
		route("d", rule("*.example.com", "", "http://d:1")),
		route("a", rule("a.example.com", "", "http://a:1")),
		route("c", rule("a.example.com", "^/api", "http://c:1")),
		route("e", rule("*.sub.example.com", "", "http://e:1")),
		first,
	}
	want := []string{
		"file.example.com http://127.0.0.1:1", "^/health http_status:200", "wins.example.com http://z:1", "a.example.com^/api http://c:1",
		"a.example.com http://a:1", "*.sub.example.com http://e:1", "*.example.com http://d:1", " http_status:404",
	}
	for turn := range len(routes) { // whatever order they were found in
		m := discovered.Merge(discovered.Rules{General: set}, append(routes[turn:], routes[:turn]...))
		if d := cmp.Diff(want, texts(m.General)); d != "" || len(m.Faults) != 0 {
			t.Errorf("turn %d: %s, faults %v", turn, d, m.Faults)
		}
	}
	if r, i := set.Match("a.example.com", "/"); i != 2 {
		t.Errorf("the former set has changed: rule %d, %s", i, r.Service)
	}
}

func TestSameRuleFromSeveral(t *testing.T) {
	set := compile(t, rule("", "", "http_status:404"))
	other := rule("a.example.com", "", "http://d:1")
	other.OriginRequest.NoTLSVerify = new(bool)
	m := discovered.Merge(discovered.Rules{General: set}, []discovered.Route{
		route("b", rule("a.example.com", "", "http://b:1")), route("a", rule("A.example.com", "", "http://a:1")),
		route("a2", rule("a.example.com", "", "http://a:1")), route("c", rule("a.example.com", "", "tcp://c:1")), route("d", other),
	})
	if d := cmp.Diff([]string{"a.example.com http://a:1 http://b:1", " http_status:404"}, texts(m.General)); d != "" {
		t.Error(d)
	}
	const why = ": b has other settings for the same hostname and path, and came first"
	if d := cmp.Diff([]string{"c" + why, "d" + why}, faults(m)); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff([]int{0, 1, 2}, m.Routes(tunnel.ID{}, 0)); d != "" || m.Routes(tunnel.ID{}, 1) != nil {
		t.Error(d, m.Routes(tunnel.ID{}, 1))
	}
}

func TestTunnels(t *testing.T) {
	one, two := tunnel.ID{15: 1}, tunnel.ID{15: 2}
	base := discovered.Rules{
		General: compile(t, rule("g.example.com", "", "http://g:1"), rule("", "", "http_status:404")),
		Tunnels: map[tunnel.ID]*ingress.Set{one: compile(t, rule("", "", "http_status:401"))},
	}
	general := route("a", rule("a.example.com", "", "http://a:1"))
	first, second := route("b", rule("b.example.com", "", "http://b:1")), route("c", rule("c.example.com", "", "http://c:1"))
	first.Tunnel, second.Tunnel = one, two
	m := discovered.Merge(base, []discovered.Route{general, first, second})
	got := map[string][]string{"general": texts(m.General), "one": texts(m.Tunnels[one]), "two": texts(m.Tunnels[two])}
	want := map[string][]string{
		"general": {"g.example.com http://g:1", "a.example.com http://a:1", " http_status:404"},
		"one":     {"b.example.com http://b:1", " http_status:401"},
		"two":     {"g.example.com http://g:1", "a.example.com http://a:1", "c.example.com http://c:1", " http_status:404"},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

// TestBadRouteHarmsNoOther has routes that cannot be rules beside one that can.
func TestBadRouteHarmsNoOther(t *testing.T) {
	set := compile(t, rule("file.example.com", "", "http://127.0.0.1:1"), rule("*.lab.example.com", "", "http://127.0.0.1:2"),
		rule("", "", "http_status:404"))
	closed := rule("actions.example.com", "", "http://a:1")
	closed.Actions = &ingress.ActionsSpec{BasicAuth: &ingress.BasicAuthSpec{Users: map[string]string{"ann": "clear"}}}
	bastion := rule("bastion.example.com", "", "http://a:1")
	yes := true
	bastion.OriginRequest.BastionMode = &yes
	m := discovered.Merge(discovered.Rules{General: set}, []discovered.Route{
		route("regex", rule("a.example.com", "[", "http://a:1")),
		route("large", rule("a.example.com", strings.Repeat("[a-z]{1000}", 9), "http://a:1")),
		route("port", rule("a.example.com:8080", "", "http://a:1")),
		route("wildcard", rule("a.*.example.com", "", "http://a:1")),
		route("file", rule("File.example.com", "", "http://a:1")),
		route("lab", rule("x.lab.example.com", "", "http://a:1")),
		route("password", closed),
		route("bastion", bastion),
		route("good", rule("a.example.com", "", "http://a:1")),
	})
	want := []string{
		"file.example.com http://127.0.0.1:1", "*.lab.example.com http://127.0.0.1:2", "a.example.com http://a:1", " http_status:404",
	}
	if d := cmp.Diff(want, texts(m.General)); d != "" {
		t.Error(d)
	}
	all := strings.Join(faults(m), "\n")
	for _, text := range []string{
		"regex: it has an invalid regex", "large: it has a path that is too large", "port: Hostname cannot contain a port", "wildcard: ",
		"file: it would never be chosen: rule #1 has the same hostname and path",
		"lab: it would never be chosen: rule #2 (hostname '*.lab.example.com') matches all its requests",
		"password: actions: ", "bastion: a rule from elsewhere",
	} {
		if !strings.Contains(all, text) {
			t.Errorf("no fault %q in:\n%s", text, all)
		}
	}
	if len(m.Faults) != 8 {
		t.Errorf("%d faults, want 8:\n%s", len(m.Faults), all)
	}
}

// TestTopLevel: a file that demands a token of every request demands it for what was found, too.
func TestTopLevel(t *testing.T) {
	access := &ingress.AccessSpec{Required: true, TeamName: "team", AudTag: []string{"tag"}}
	set, err := ingress.Compile(ingress.Document{
		OriginRequest: ingress.OriginSpec{Access: access}, Ingress: []ingress.RuleSpec{rule("", "", "http_status:404")},
	})
	if err != nil {
		t.Fatal(err)
	}
	m := discovered.Merge(discovered.Rules{General: set}, []discovered.Route{route("a", rule("a.example.com", "", "http://a:1"))})
	if r, i := m.General.Match("a.example.com", "/"); i != 0 || !r.Origin.Access.Required || !r.Pushed {
		t.Errorf("rule %d: %+v, want one that demands a token and counts as pushed", i, r)
	}
}

func TestTooManyOfOneRule(t *testing.T) {
	set := compile(t, rule("", "", "http_status:404"))
	var routes []discovered.Route
	for i := range ingress.MaxServices + 2 {
		routes = append(routes, route(fmt.Sprint(i), rule("a.example.com", "", fmt.Sprintf("http://a:%d", i+1))))
	}
	m := discovered.Merge(discovered.Rules{General: set}, routes)
	if n := len(m.General.Rules[0].Targets); n != ingress.MaxServices || len(m.Faults) != 2 {
		t.Errorf("%d origins and %d faults, want %d and 2", n, len(m.Faults), ingress.MaxServices)
	}
}
