package edgepool_test

import (
	"net/netip"
	"testing"

	"github.com/culvert-tunnel/culvert/pkg/edgepool"
)

func TestBogon(t *testing.T) {
	for text, want := range map[string]string{
		// Addresses of the public internet, next to ranges that are not.
		"198.41.192.7": "", "1.1.1.1": "", "2606:4700:a8::1": "", "9.255.255.255": "", "11.0.0.0": "", "172.15.255.255": "",
		"172.32.0.0": "", "192.167.255.255": "", "192.169.0.0": "", "100.63.255.255": "", "100.128.0.0": "", "126.255.255.255": "",
		"128.0.0.0": "", "169.253.255.255": "", "198.17.255.255": "", "198.20.0.0": "", "223.255.255.255": "", "1.0.0.0": "",
		"2001:4860::1": "", "2003::": "", "2000::": "", "3ffe::1": "", "64:ff9b::101:101": "", "::ffff:1.1.1.1": "",

		"0.0.0.0": "unspecified", "0.1.2.3": "unspecified", "::": "unspecified", "::ffff:0.0.0.0": "unspecified",
		"10.0.0.0": "private", "10.255.255.255": "private", "172.16.0.0": "private", "172.31.255.255": "private", "192.168.0.1": "private",
		"fc00::1": "private", "fdff::1": "private", "fec0::1": "private", "::ffff:10.1.2.3": "private", "64:ff9b::a00:1": "private",
		"100.64.0.0": "shared by the customers of a provider", "100.127.255.255": "shared by the customers of a provider",
		"127.0.0.1": "loopback", "127.255.255.255": "loopback", "::1": "loopback", "64:ff9b::7f00:1": "loopback",
		"169.254.169.254": "link-local", "fe80::1": "link-local", "fe80::1%eth0": "link-local", "febf::1": "link-local",
		"192.0.0.8": "reserved for protocols", "100::1": "reserved for protocols", "64:ff9b:1::1": "reserved for protocols",
		"192.0.2.1": "for documentation", "198.51.100.1": "for documentation", "203.0.113.1": "for documentation",
		"2001:db8::1": "for documentation", "3fff::1": "for documentation",
		"198.18.0.1": "for benchmarks", "198.19.255.255": "for benchmarks", "2001:2::1": "for benchmarks",
		"192.88.99.1": "of a 6to4 relay", "2002:102:304::1": "of a 6to4 relay", "2001:0:102:304::1": "of a Teredo client",
		"2001:10::1": "not routable", "2001:2f::1": "not routable",
		"224.0.0.1": "multicast", "239.255.255.255": "multicast", "ff02::1": "multicast",
		"240.0.0.1": "reserved", "255.255.255.255": "reserved",
		"1fff::1": "reserved", "4000::1": "reserved", "::2": "reserved", "::1.2.3.4": "reserved",
	} {
		if got := edgepool.Bogon(netip.MustParseAddr(text)); got != want {
			t.Errorf("Bogon(%s) = %q, want %q", text, got, want)
		}
	}
	if edgepool.Bogon(netip.Addr{}) == "" {
		t.Error("the zero address is public")
	}
}

// FuzzBogon: what the standard library knows to be no public address is never one, and the form of an address makes no difference.
func FuzzBogon(f *testing.F) {
	for _, text := range []string{"10.0.0.1", "198.41.192.7", "2606:4700::1", "fe80::1", "64:ff9b::1", "::ffff:127.0.0.1"} {
		f.Add(netip.MustParseAddr(text).AsSlice())
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		a, ok := netip.AddrFromSlice(raw)
		got := edgepool.Bogon(a)
		if !ok {
			if got == "" {
				t.Errorf("%v is public", raw)
			}
			return
		}
		plain := a.Unmap()
		if got == "" && (!plain.IsGlobalUnicast() || plain.IsPrivate()) {
			t.Errorf("%s is public", a)
		}
		if other := edgepool.Bogon(netip.AddrFrom16(a.As16())); other != got {
			t.Errorf("%s: %q, and %q in IPv6 form", a, got, other)
		}
		if a.Is6() && edgepool.Bogon(a.WithZone("eth0")) != edgepool.Bogon(plain) {
			t.Errorf("%s: a zone makes a difference", a)
		}
	})
}
