package router_test

import (
	"log/slog"
	"strings"
	"testing"

	"github.com/culvert-tunnel/culvert/pkg/ingress"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
	"github.com/culvert-tunnel/culvert/services/proxy/internal/opener"
	"github.com/culvert-tunnel/culvert/services/proxy/internal/router"
)

func compile(t *testing.T, rules ...ingress.RuleSpec) *ingress.Set {
	t.Helper()
	set, err := ingress.Compile(ingress.Document{Ingress: rules})
	if err != nil {
		t.Fatal(err)
	}
	return set
}

func TestMatchGivesTheRulesOrigin(t *testing.T) {
	table, err := router.New(compile(t,
		ingress.RuleSpec{Hostname: "a.example.com", Path: "^/api", Service: "http://127.0.0.1:1"},
		ingress.RuleSpec{Hostname: "*.example.com", Service: "unix:/x.sock"},
		ingress.RuleSpec{Service: "http_status:404"},
	), opener.New(slog.New(slog.DiscardHandler), nil))
	if err != nil {
		t.Fatal(err)
	}
	defer table.Close()
	for _, tc := range []struct {
		host, path, want string
		index            int
	}{
		{"a.example.com:443", "/api/x", "http://127.0.0.1:1", 0},
		{"a.example.com", "/", "unix:/x.sock", 1},
		{"other.test", "/api", "http_status:404", 2},
		{"", "", "http_status:404", 2},
	} {
		r := table.Current().Match(tc.host, tc.path)
		if r == nil || r.Index != tc.index || r.Origin.Text != tc.want {
			t.Errorf("Match(%q, %q) = %+v, want rule %d, %s", tc.host, tc.path, r, tc.index, tc.want)
		}
	}
}

func TestSwap(t *testing.T) {
	a := ingress.RuleSpec{Hostname: "a.test", Service: "http://127.0.0.1:1"}
	same := ingress.RuleSpec{Hostname: "b.test", Service: "http://127.0.0.1:1"}
	yes := true
	other := ingress.RuleSpec{Hostname: "c.test", Service: "http://127.0.0.1:1", OriginRequest: ingress.OriginSpec{NoTLSVerify: &yes}}
	last := ingress.RuleSpec{Service: "http_status:404"}
	table, err := router.New(compile(t, a, same, other, last), opener.New(slog.New(slog.DiscardHandler), nil))
	if err != nil {
		t.Fatal(err)
	}
	defer table.Close()
	first := table.Current().Routes()
	if first[0].Origin != first[1].Origin {
		t.Error("two rules with the same service and settings have two pools")
	}
	if first[0].Origin == first[2].Origin {
		t.Error("rules with different settings share a pool")
	}
	if err := table.Swap(tunnel.ID{}, compile(t, other, last)); err != nil {
		t.Fatal(err)
	}
	if table.Current().Routes()[0].Origin != first[2].Origin {
		t.Error("an unchanged service got a new pool")
	}
	missing := "/does/not/exist"
	bad := ingress.RuleSpec{Service: "https://127.0.0.1:1", OriginRequest: ingress.OriginSpec{CAPool: &missing}}
	before := table.Current()
	err = table.Swap(tunnel.ID{}, compile(t, bad))
	want := "Error starting local service https://127.0.0.1:1: Error loading cert pool: " +
		"unable to read the file /does/not/exist for --origin-ca-pool: "
	if err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("Swap: %v, want %s", err, want)
	}
	if table.Current() != before {
		t.Error("a failed swap changed the table")
	}
}

func TestAmbiguous(t *testing.T) {
	table, err := router.New(compile(t,
		ingress.RuleSpec{Path: "^/admin", Service: "http_status:200", OriginRequest: ingress.OriginSpec{
			Access: &ingress.AccessSpec{Required: true, TeamName: "t", AudTag: []string{"a"}},
		}},
		ingress.RuleSpec{Service: "http_status:404"},
	), opener.New(slog.New(slog.DiscardHandler), nil))
	if err != nil {
		t.Fatal(err)
	}
	defer table.Close()
	s := table.Current()
	for path, want := range map[string]bool{"/public": false, "/public/../admin": true, "/admin": false} {
		if got := s.Ambiguous("x.test", path, s.Match("x.test", path)); got != want {
			t.Errorf("Ambiguous(%s) = %v, want %v", path, got, want)
		}
	}
}
