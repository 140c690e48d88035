package control

import (
	"context"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/edgepool"
)

// TestFamilies: the routes of a host are looked at now and then, for the versions of IP that the pool has.
func TestFamilies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		has, looks := map[bool]bool{true: true}, 0
		f := families{route: func(_ context.Context, to netip.AddrPort) bool { looks++; return has[to.Addr().Is4()] }}
		both := edgepool.Pool{Version: 1, Regions: []edgepool.RegionPool{edgepool.NewRegion("region1", []netip.AddrPort{
			netip.MustParseAddrPort("192.0.2.1:7844"), netip.MustParseAddrPort("[2001:db8::1]:7844"),
		})}}
		if got := f.of(edgepool.Pool{}); got != "" || looks != 0 {
			t.Errorf("without a pool: %q after %d looks", got, looks)
		}
		if got := f.of(both); got != "4" {
			t.Errorf("families %q, want 4", got)
		}
		has[false] = true
		if got := f.of(both); got != "4" || looks != 2 {
			t.Errorf("at once: %q after %d looks", got, looks)
		}
		time.Sleep(familiesTime) //nolint:forbidigo // fake time
		if got := f.of(both); got != "46" {
			t.Errorf("later: %q, want 46", got)
		}
		time.Sleep(familiesTime) //nolint:forbidigo // fake time
		both.Regions[0].V6 = nil
		if got := f.of(both); got != "4" || looks != 5 {
			t.Errorf("a pool without IPv6: %q after %d looks", got, looks)
		}
	})
}
