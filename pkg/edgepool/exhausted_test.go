package edgepool_test

import (
	"net/netip"
	"testing"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/edgepool"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

func TestExhausted(t *testing.T) {
	a, b, six := netip.MustParseAddrPort("192.0.2.1:1"), netip.MustParseAddrPort("192.0.2.2:1"), netip.MustParseAddrPort("[2001:db8::1]:1")
	pool := edgepool.Pool{Regions: []edgepool.RegionPool{
		edgepool.NewRegion("x", []netip.AddrPort{a, six}), edgepool.NewRegion("y", []netip.AddrPort{b}),
	}}
	failed := func(all ...netip.AddrPort) (h edgepool.Health) {
		for _, f := range all {
			h = h.After(f, tunnel.ReasonDial, time.Unix(0, 0))
		}
		return h
	}
	onlyB := map[netip.AddrPort]bool{b: true}
	both := map[netip.AddrPort]bool{a: true, b: true}
	for name, tc := range map[string]struct {
		pool      edgepool.Pool
		family    edgepool.Family
		health    edgepool.Health
		connected map[netip.AddrPort]bool
		want      bool
	}{
		"nothing known":              {pool: pool, family: edgepool.Any},
		"no pool":                    {health: failed(a)},
		"one left":                   {pool: pool, family: edgepool.Any, health: failed(a, six)},
		"all failed":                 {pool: pool, family: edgepool.Any, health: failed(a, b, six), want: true},
		"all of the family":          {pool: pool, family: edgepool.V4, health: failed(a, b), want: true},
		"the rest is connected":      {pool: pool, family: edgepool.V4, health: failed(a), connected: onlyB, want: true},
		"all connected":              {pool: pool, family: edgepool.V4, connected: both},
		"one recovered":              {pool: pool, family: edgepool.V4, health: failed(a, b).After(a, tunnel.ReasonNone, time.Unix(9, 0))},
		"failed and connected again": {pool: pool, family: edgepool.V4, health: failed(a, b), connected: both},
	} {
		if got := tc.pool.Exhausted(tc.family, tc.health, tc.connected); got != tc.want {
			t.Errorf("%s: Exhausted = %v, want %v", name, got, tc.want)
		}
	}
}
