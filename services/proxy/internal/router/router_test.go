package router_test

import (
	"errors"
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
		r := table.Default().Match(ingress.Get(tc.host, tc.path))
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
	first := table.Default().Routes()
	if first[0].Origin != first[1].Origin {
		t.Error("two rules with the same service and settings have two pools")
	}
	if first[0].Origin == first[2].Origin {
		t.Error("rules with different settings share a pool")
	}
	if err := table.SwapDefault(compile(t, other, last)); err != nil {
		t.Fatal(err)
	}
	if table.Default().Routes()[0].Origin != first[2].Origin {
		t.Error("an unchanged service got a new pool")
	}
	missing := "/does/not/exist"
	bad := ingress.RuleSpec{Service: "https://127.0.0.1:1", OriginRequest: ingress.OriginSpec{CAPool: &missing}}
	before := table.Default()
	err = table.SwapDefault(compile(t, bad))
	want := "Error starting local service https://127.0.0.1:1: Error loading cert pool: " +
		"unable to read the file /does/not/exist for --origin-ca-pool: "
	if err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("Swap: %v, want %s", err, want)
	}
	if table.Default() != before {
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
	s := table.Default()
	for path, want := range map[string]bool{"/public": false, "/public/../admin": true, "/admin": false} {
		if got := s.Ambiguous(ingress.Get("x.test", path), s.Match(ingress.Get("x.test", path))); got != want {
			t.Errorf("Ambiguous(%s) = %v, want %v", path, got, want)
		}
	}
}

// TestSwapConcernsOneTunnel checks that rules of one tunnel serve it alone, and that no origin is shared.
func TestSwapConcernsOneTunnel(t *testing.T) {
	table, err := router.New(compile(t, ingress.RuleSpec{Service: "http://127.0.0.1:1"}), opener.New(slog.New(slog.DiscardHandler), nil))
	if err != nil {
		t.Fatal(err)
	}
	defer table.Close()
	first, second, third := tunnel.ID{1}, tunnel.ID{2}, tunnel.ID{3}
	for _, id := range []tunnel.ID{first, second} {
		if err := table.Swap(id, compile(t, ingress.RuleSpec{Service: "http://127.0.0.1:1"})); err != nil {
			t.Fatal(err)
		}
	}
	general, one, two := table.Default(), table.For(first), table.For(second)
	if one == two || one == general || two == general || table.For(third) != general {
		t.Error("tunnels share a snapshot, or one without rules has not the default one")
	}
	if one.Routes()[0].Origin == two.Routes()[0].Origin {
		t.Error("two tunnels share a pool")
	}
	if err := table.Swap(first, compile(t, ingress.RuleSpec{Service: "http_status:404"})); err != nil {
		t.Fatal(err)
	}
	if table.For(first) == one || table.For(second) != two || table.Default() != general {
		t.Error("a swap must change its own tunnel and no other")
	}
	remove := map[tunnel.ID]*ingress.Set{first: nil, third: nil} // the third has none
	if err := table.SwapAll(router.Changes{Tunnels: remove}); err != nil {
		t.Fatal(err)
	}
	if table.For(first) != general || table.For(second) != two {
		t.Error("a tunnel whose rules were removed must have the default ones, and no other may change")
	}
	if own := table.Own(); len(own) != 1 || own[0] != second {
		t.Errorf("tunnels with rules of their own: %v", own)
	}
}

// TestSwapAllIsAllOrNothing has one change that cannot be made among others that can.
func TestSwapAllIsAllOrNothing(t *testing.T) {
	good := compile(t, ingress.RuleSpec{Service: "http_status:404"})
	table, err := router.New(good, opener.New(slog.New(slog.DiscardHandler), nil))
	if err != nil {
		t.Fatal(err)
	}
	defer table.Close()
	first, second, third := tunnel.ID{1}, tunnel.ID{2}, tunnel.ID{3}
	if err := table.Swap(second, good); err != nil {
		t.Fatal(err)
	}
	missing := "/does/not/exist"
	bad := compile(t, ingress.RuleSpec{Service: "https://127.0.0.1:1", OriginRequest: ingress.OriginSpec{CAPool: &missing}})
	general, two := table.Default(), table.For(second)
	changes := router.Changes{Default: good, Tunnels: map[tunnel.ID]*ingress.Set{first: good, second: nil, third: bad}}
	var fault *router.StartError
	if err := table.SwapAll(changes); !errors.As(err, &fault) {
		t.Errorf("SwapAll: %v, want a StartError", err)
	}
	if table.Default() != general || table.For(first) != general || table.For(second) != two || table.For(third) != general {
		t.Error("a failed change made others")
	}
	changes.Tunnels[third] = good
	if err := table.SwapAll(changes); err != nil {
		t.Fatal(err)
	}
	if table.Default() == general || table.For(second) != table.Default() || table.For(first) == table.Default() || len(table.Own()) != 2 {
		t.Error("not all changes were made")
	}
}

func TestForAllocatesNothing(t *testing.T) {
	table, err := router.New(compile(t, ingress.RuleSpec{Service: "http_status:404"}), opener.New(slog.New(slog.DiscardHandler), nil))
	if err != nil {
		t.Fatal(err)
	}
	if err := table.Swap(tunnel.ID{1}, compile(t, ingress.RuleSpec{Service: "http_status:410"})); err != nil {
		t.Fatal(err)
	}
	for _, id := range []tunnel.ID{{1}, {2}} {
		if n := testing.AllocsPerRun(100, func() { table.For(id) }); n != 0 {
			t.Errorf("For(%s): %v allocations", id, n)
		}
	}
}
