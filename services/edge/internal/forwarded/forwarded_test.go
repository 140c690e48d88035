package forwarded_test

import (
	"net/netip"
	"testing"

	"github.com/culvert-tunnel/culvert/services/edge/internal/forwarded"
)

func proxies(t testing.TB, texts ...string) forwarded.Proxies {
	t.Helper()
	p, err := forwarded.ParseProxies(texts)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestResolve(t *testing.T) {
	t.Parallel()
	trusted := proxies(t, "10.0.0.0/8", "2001:db8::/32")
	for name, c := range map[string]struct {
		header map[string][]string
		want   string // address, scheme, host
	}{
		"nothing stated": {nil, "10.0.0.1  "},
		"one address": {
			map[string][]string{"X-Forwarded-For": {"192.0.2.7"}, "X-Forwarded-Proto": {"https"}},
			"192.0.2.7 https ",
		},
		"the visitor wrote the left": {map[string][]string{"X-Forwarded-For": {"1.1.1.1, 192.0.2.7"}}, "192.0.2.7  "},
		"two proxies":                {map[string][]string{"X-Forwarded-For": {"1.1.1.1, 192.0.2.7, 10.0.0.9"}}, "192.0.2.7  "},
		"several lines":              {map[string][]string{"X-Forwarded-For": {"1.1.1.1", "192.0.2.7", "10.0.0.9"}}, "192.0.2.7  "},
		"lists in step": {map[string][]string{
			"X-Forwarded-For": {"9.9.9.9, 192.0.2.7, 10.0.0.9"}, "X-Forwarded-Proto": {"gopher, https, http"},
			"X-Forwarded-Host": {"x, a.test, b"},
		}, "192.0.2.7 https a.test"},
		"one scheme for two addresses": {
			map[string][]string{"X-Forwarded-For": {"192.0.2.7, 10.0.0.9"}, "X-Forwarded-Proto": {"HTTPS"}},
			"192.0.2.7 https ",
		},
		"only proxies":           {map[string][]string{"X-Forwarded-For": {"10.0.0.8, 10.0.0.9"}}, "10.0.0.8  "},
		"nonsense ends the walk": {map[string][]string{"X-Forwarded-For": {"192.0.2.7, unknown, 10.0.0.9"}}, "10.0.0.9  "},
		"only nonsense": {
			map[string][]string{"X-Forwarded-For": {"unknown"}, "X-Forwarded-Proto": {"https"}},
			"10.0.0.1 https ",
		},
		"ports and brackets": {
			map[string][]string{"X-Forwarded-For": {"192.0.2.7:4711, [2001:db8::1]:80, 2001:db8::2, [2001:db8::3]"}},
			"192.0.2.7  ",
		},
		"mapped address": {map[string][]string{"X-Forwarded-For": {"192.0.2.7, ::ffff:10.0.0.9"}}, "192.0.2.7  "},
		"scheme of a WebSocket": {
			map[string][]string{"X-Forwarded-For": {"192.0.2.7"}, "X-Forwarded-Proto": {"wss"}},
			"192.0.2.7 https ",
		},
		"unknown scheme": {map[string][]string{"X-Forwarded-For": {"192.0.2.7"}, "X-Forwarded-Proto": {"gopher"}}, "192.0.2.7  "},
		"Forwarded": {map[string][]string{
			"Forwarded": {`for=9.9.9.9, for=192.0.2.7;proto=https;host="a.test:8443", for="[2001:db8::1]:80";proto=http`},
		}, "192.0.2.7 https a.test:8443"},
		"Forwarded, quoted pair":      {map[string][]string{"Forwarded": {`For="192.0.2.\7"; Proto=https`}}, "192.0.2.7 https "},
		"Forwarded, obfuscated":       {map[string][]string{"Forwarded": {`for=192.0.2.7, for=_hidden, for=10.0.0.9`}}, "10.0.0.9  "},
		"Forwarded, unending quote":   {map[string][]string{"Forwarded": {`for=192.0.2.7, for="10.0.0.9`}}, "10.0.0.1  "},
		"Forwarded, comma in a quote": {map[string][]string{"Forwarded": {`for=9.9.9.9, for=192.0.2.7;x="a,b;for=8.8.8.8"`}}, "192.0.2.7  "},
		"X-Forwarded-For wins": {map[string][]string{
			"X-Forwarded-For": {"192.0.2.7"}, "Forwarded": {"for=9.9.9.9"}, "Cf-Connecting-Ip": {"8.8.8.8"},
		}, "192.0.2.7  "},
		"Cf-Connecting-Ip alone": {
			map[string][]string{"Cf-Connecting-Ip": {"192.0.2.7"}, "X-Forwarded-Proto": {"https"}},
			"192.0.2.7 https ",
		},
		"Cf-Connecting-Ip twice":         {map[string][]string{"Cf-Connecting-Ip": {"192.0.2.7", "192.0.2.8"}}, "10.0.0.1  "},
		"host of the nearest, no others": {map[string][]string{"X-Forwarded-Host": {"x, a.test"}}, "10.0.0.1  a.test"},
	} {
		v := trusted.Resolve(netip.MustParseAddr("10.0.0.1"), c.header)
		if got := v.Addr.String() + " " + v.Scheme + " " + v.Host; got != c.want {
			t.Errorf("%s: got %q, want %q", name, got, c.want)
		}
	}
}

func TestParseProxies(t *testing.T) {
	t.Parallel()
	p := proxies(t, "10.1.2.3/8", "192.0.2.1", "::ffff:198.51.100.0/120", "2001:db8::1")
	for addr, want := range map[string]bool{
		"10.255.0.1": true, "11.0.0.1": false, "192.0.2.1": true, "192.0.2.2": false, "198.51.100.9": true, "::ffff:10.0.0.1": true,
		"2001:db8::1": true, "2001:db8::2": false,
	} {
		if got := p.Contain(netip.MustParseAddr(addr)); got != want {
			t.Errorf("Contain(%s) = %v, want %v", addr, got, want)
		}
	}
	for _, text := range []string{"", "10.0.0.0/33", "example.com", "fe80::1%eth0", "::ffff:0:0/64"} {
		if p, err := forwarded.ParseProxies([]string{text}); err == nil {
			t.Errorf("ParseProxies(%q) = %v, want an error", text, p)
		}
	}
	if forwarded.Proxies(nil).Contain(netip.MustParseAddr("127.0.0.1")) {
		t.Error("an empty list trusts an address")
	}
}

// FuzzResolve checks that only trusted proxies decide: what stands left of the first address that is not one makes
// no difference.
func FuzzResolve(f *testing.F) {
	f.Add("1.1.1.1", `for="x`)
	f.Add("unknown, 10.0.0.1", "for=10.0.0.1;proto=https,")
	trusted := proxies(f, "10.0.0.0/8")
	peer := netip.MustParseAddr("10.0.0.1")
	f.Fuzz(func(t *testing.T, list, elements string) {
		v := trusted.Resolve(peer, map[string][]string{"X-Forwarded-For": {list + ", 192.0.2.7, 10.0.0.9"}})
		if v.Addr.String() != "192.0.2.7" {
			t.Errorf("%q before the visitor's address: got %v", list, v.Addr)
		}
		trusted.Resolve(peer, map[string][]string{"Forwarded": {elements}})
		v = trusted.Resolve(peer, map[string][]string{"Forwarded": {elements, "for=192.0.2.7", "for=10.0.0.9"}})
		if v.Addr.String() != "192.0.2.7" {
			t.Errorf("%q before the visitor's address: got %v", elements, v.Addr)
		}
	})
}
