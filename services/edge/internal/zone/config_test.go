package zone_test

import (
	"net"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/culvert-tunnel/culvert/services/edge/internal/zone"
)

func TestDeriveRegions(t *testing.T) {
	t.Parallel()
	addrs := func(texts ...string) (out []netip.AddrPort) {
		for _, s := range texts {
			out = append(out, netip.MustParseAddrPort(s))
		}
		return out
	}
	host := func() ([]net.Addr, error) {
		return []net.Addr{
			&net.IPNet{IP: net.ParseIP("127.0.0.1"), Mask: net.CIDRMask(8, 32)},
			&net.IPNet{IP: net.ParseIP("fe80::1"), Mask: net.CIDRMask(64, 128)},
			&net.IPNet{IP: net.ParseIP("fd00::2"), Mask: net.CIDRMask(64, 128)},
			&net.IPNet{IP: net.ParseIP("172.18.0.3"), Mask: net.CIDRMask(16, 32)},
		}, nil
	}
	for name, c := range map[string]struct {
		listen        []netip.AddrPort
		first, second []netip.AddrPort
	}{
		"several ports": {addrs("0.0.0.0:1", "0.0.0.0:2", "0.0.0.0:3"), addrs("172.18.0.3:1", "172.18.0.3:3"), addrs("172.18.0.3:2")},
		"one wildcard":  {addrs("0.0.0.0:1"), addrs("172.18.0.3:1"), addrs("172.18.0.3:1")},
		"dual stack":    {addrs("[::]:1"), addrs("172.18.0.3:1"), addrs("[fd00::2]:1")},
		"fixed":         {addrs("127.0.0.1:1", "127.0.0.2:2"), addrs("127.0.0.1:1"), addrs("127.0.0.2:2")},
	} {
		conf := zone.Config{Domain: "x.test", Listen: netip.MustParseAddrPort("0.0.0.0:53")}
		got, err := conf.Content(c.listen, host)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		want := []zone.Region{{Name: "region1", Addresses: c.first}, {Name: "region2", Addresses: c.second}}
		if diff := cmp.Diff(want, got.Regions, cmpopts.EquateComparable(netip.AddrPort{})); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
		if got.Self != netip.MustParseAddr("172.18.0.3") {
			t.Errorf("%s: own address %s", name, got.Self)
		}
	}
}
