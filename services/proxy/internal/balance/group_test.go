package balance_test

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/ingress"
	"github.com/culvert-tunnel/culvert/services/proxy/internal/balance"
	"github.com/culvert-tunnel/culvert/services/proxy/internal/origin"
)

// group is a rule with an origin for each host.
func group(t *testing.T, b ingress.Balance, lookup balance.Lookup, hosts ...string) *balance.Group {
	t.Helper()
	rule := &ingress.Rule{Balance: b}
	for _, h := range hosts {
		u := &url.URL{Scheme: "http", Host: h}
		rule.Targets = append(rule.Targets, ingress.Target{Service: ingress.Service{Kind: ingress.KindHTTP, URL: u}, Weight: 1})
	}
	open := func(s ingress.Service, _ netip.Addr) (*origin.Origin, error) {
		return &origin.Origin{Text: s.String()}, nil
	}
	g, err := balance.NewHub(slog.New(slog.DiscardHandler), lookup, nil).Group(rule, "", open)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(g.Close)
	return g
}

func states(g *balance.Group) string {
	var out []string
	for _, s := range g.States() {
		out = append(out, s.State)
	}
	return strings.Join(out, " ")
}

// request makes the attempts of one request, whose result at every origin whose name begins with "bad" is a failure, and gives the first
// origin.
func request(t *testing.T, g *balance.Group, safe bool, bad string) (first string) {
	t.Helper()
	a := g.Begin(origin.Ask{Safe: safe})
	defer a.End()
	for {
		o, ok := a.Next()
		if !ok {
			t.Fatal("no origin for a request")
		}
		if first == "" {
			first = o.Text
		}
		var r origin.Result
		if bad != "" && strings.Contains(o.Text, bad) {
			r.Err = errors.New("no response")
		}
		if !a.Again(r) {
			return first
		}
	}
}

// TestUnsafeRequestsEndAnEjection: a rule with POST or gRPC alone has no request that may be repeated.
func TestUnsafeRequestsEndAnEjection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := group(t, ingress.Balance{Failures: 2, Eject: 10 * time.Second, Attempts: 3, Budget: 20}, nil, "bad:1", "good:1")
		post := func(n int, bad string) (tried int) {
			for range n {
				if strings.Contains(request(t, g, false, bad), "bad") {
					tried++
				}
			}
			return tried
		}
		post(4, "bad")
		if s := states(g); s != "ejected up" {
			t.Fatalf("states %q after failures", s)
		}
		time.Sleep(11 * time.Second) //nolint:forbidigo // fake time
		if n := post(10, "bad"); n != 0 {
			t.Errorf("%d requests that cannot be repeated tried the origin after one period", n)
		}
		time.Sleep(10 * time.Second) //nolint:forbidigo // fake time
		if n := post(10, "bad"); n != 1 || states(g) != "ejected up" {
			t.Errorf("%d requests tried the origin after the second period, states %q, want 1 and ejected again", n, states(g))
		}
		time.Sleep(15 * time.Second) //nolint:forbidigo // fake time
		if n := post(10, ""); n != 0 {
			t.Errorf("%d requests tried the origin after one period of its second ejection", n)
		}
		time.Sleep(6 * time.Second) //nolint:forbidigo // fake time
		if n := post(10, ""); n < 2 || states(g) != "up up" {
			t.Errorf("%d of 10 requests, states %q after a success, want both origins in use", n, states(g))
		}
	})
}

// TestPanicEndsAnEjection: with no usable origin all are tried, and those that work are back at once.
func TestPanicEndsAnEjection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := group(t, ingress.Balance{Failures: 1, Eject: 10 * time.Second, Attempts: 1, Panic: 50}, nil, "bad:1", "bad:2")
		for range 2 {
			request(t, g, false, "bad")
		}
		if s := states(g); s != "ejected ejected" {
			t.Fatalf("states %q", s)
		}
		request(t, g, false, "") // the breaker is open: it says nothing
		if s := states(g); s != "ejected ejected" {
			t.Errorf("states %q before the ejections are over", s)
		}
		time.Sleep(11 * time.Second) //nolint:forbidigo // fake time
		first, second := request(t, g, false, ""), request(t, g, false, "")
		// The first success makes one usable again, which is half: no panic any more.
		request(t, g, true, "")
		if s := states(g); s != "up up" {
			t.Errorf("states %q after requests to %s and %s", s, first, second)
		}
		failing := request(t, g, false, "bad") // ejected by its first failure, so the ejection did end
		if s := states(g); strings.Count(s, "ejected") != 1 {
			t.Errorf("states %q after a failure of %s", s, failing)
		}
	})
}

// TestLookupsShareTheirTime: many names whose server does not respond delay a rule as little as one.
func TestLookupsShareTheirTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		lookup := func(ctx context.Context, host string) ([]netip.Addr, error) {
			if name, ok := strings.CutPrefix(host, "slow"); ok {
				<-ctx.Done()
				return nil, errors.New("no response about " + name)
			}
			return []netip.Addr{netip.MustParseAddr("::ffff:10.0.0.2"), netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.0.0.2")}, nil
		}
		b := ingress.Balance{Resolve: time.Hour, Attempts: 1}
		g := group(t, b, lookup, "slow1:1", "10.9.9.9:1", "quick:1", "slow2:1", "slow3:1")
		if d := time.Since(began); d != 5*time.Second {
			t.Errorf("the lookups took %v, want the 5 s of one", d)
		}
		var got []string
		for _, s := range g.States() {
			got = append(got, strings.TrimPrefix(s.Service, "http://")+"="+s.Address)
		}
		if s := strings.Join(got, " "); s != "slow1:1= 10.9.9.9:1= quick:1=10.0.0.1 quick:1=10.0.0.2 slow2:1= slow3:1=" {
			t.Errorf("origins %s", s)
		}
	})
}
