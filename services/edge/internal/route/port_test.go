package route_test

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/culvert-tunnel/culvert/services/edge/internal/route"
)

func ip(s string) netip.Addr { return netip.MustParseAddr(s) }

func TestParsePort(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]struct {
		port route.Port
		name string
	}{
		"tcp://:2222":                  {route.Port{Network: route.TCP, Number: 2222}, "tcp://:2222"},
		" TCP://*:2222/ ":              {route.Port{Network: route.TCP, Number: 2222}, "tcp://:2222"},
		"udp://127.0.0.1:53":           {route.Port{Network: route.UDP, Addr: ip("127.0.0.1"), Number: 53}, "udp://127.0.0.1:53"},
		"tcp://[2001:DB8::1]:22":       {route.Port{Network: route.TCP, Addr: ip("2001:db8::1"), Number: 22}, "tcp://[2001:db8::1]:22"},
		"tcp://[::ffff:192.0.2.1]:443": {route.Port{Network: route.TCP, Addr: ip("192.0.2.1"), Number: 443}, "tcp://192.0.2.1:443"},
		"tcp://[::]:1":                 {route.Port{Network: route.TCP, Addr: ip("::"), Number: 1}, "tcp://[::]:1"},
		"tcp://:0":                     {route.Port{Network: route.TCP}, "tcp://:0"},
	} {
		got, err := route.ParsePort(in)
		if err != nil {
			t.Errorf("ParsePort(%q): %v", in, err)
			continue
		}
		if got != want.port {
			t.Errorf("ParsePort(%q) = %+v, want %+v", in, got, want.port)
		}
		if got.Name() != want.name {
			t.Errorf("ParsePort(%q).Name() = %q, want %q", in, got.Name(), want.name)
		}
	}
	for _, in := range []string{
		"", "2222", ":2222", "sctp://:1", "tcp://2222", "tcp://:", "tcp://:65536", "tcp://:-1", "tcp://localhost:22", "tcp://2001:db8::1:22",
		"tcp://[fe80::1%eth0]:22", "tcp://:22/path", "tcp://user@:22", "tcp://[127.0.0.1]:x",
	} {
		if p, err := route.ParsePort(in); !errors.Is(err, route.ErrPort) {
			t.Errorf("ParsePort(%q) = %v, %v, want ErrPort", in, p, err)
		}
	}
}

func TestPortTargets(t *testing.T) {
	t.Parallel()
	to := netip.MustParseAddrPort("[::ffff:10.0.0.5]:22")
	for name, c := range map[string]struct {
		network route.Network
		target  route.Target
		want    string // part of the error, "" for none
	}{
		"address":                   {route.TCP, route.Target{To: to, ProxyProtocol: route.ProxyProtocolV2, Idle: time.Hour}, ""},
		"host":                      {route.TCP, route.Target{Host: "SSH.example.com."}, ""},
		"udp":                       {route.UDP, route.Target{To: to}, ""},
		"nothing":                   {route.TCP, route.Target{}, "no target"},
		"both":                      {route.TCP, route.Target{To: to, Host: "a"}, "exclude"},
		"port 0":                    {route.TCP, route.Target{To: netip.MustParseAddrPort("10.0.0.5:0")}, "port 0"},
		"unspecified":               {route.TCP, route.Target{To: netip.MustParseAddrPort("0.0.0.0:22")}, "one host"},
		"multicast":                 {route.UDP, route.Target{To: netip.MustParseAddrPort("224.0.0.251:5353")}, "one host"},
		"zone":                      {route.TCP, route.Target{To: netip.MustParseAddrPort("[fe80::1%eth0]:22")}, "one host"},
		"udp to a host":             {route.UDP, route.Target{Host: "a.test"}, "for tcp"},
		"wildcard":                  {route.TCP, route.Target{Host: "*.a.test"}, "no host name"},
		"host with a path":          {route.TCP, route.Target{Host: "a.test/x"}, "no host name"},
		"udp with a header":         {route.UDP, route.Target{To: to, ProxyProtocol: route.ProxyProtocolV1}, "for tcp"},
		"unknown version":           {route.TCP, route.Target{To: to, ProxyProtocol: "v3"}, "neither v1 nor v2"},
		"negative":                  {route.TCP, route.Target{To: to, Idle: -1}, "negative"},
		"two faults, both reported": {route.UDP, route.Target{ProxyProtocol: "v3", Idle: -1}, "v3"},
	} {
		p := route.Port{Network: c.network, Number: 1, Target: c.target}
		err := p.Validate()
		if c.want == "" {
			if err != nil || (p.Target.Host != "" && p.Target.Host != "ssh.example.com") || p.Target.To.Addr().Is4In6() {
				t.Errorf("%s: %v, %+v", name, err, p.Target)
			}
			continue
		}
		if !errors.Is(err, route.ErrPort) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want ErrPort with %q", name, err, c.want)
		}
	}
}

func TestParseBootstrap(t *testing.T) {
	t.Parallel()
	got, err := route.ParseBootstrap("tcp://:2222?to=10.0.0.5:22&proxy_protocol=v2&idle=10m")
	want := route.Port{Network: route.TCP, Number: 2222, Target: route.Target{
		To: netip.MustParseAddrPort("10.0.0.5:22"), ProxyProtocol: route.ProxyProtocolV2, Idle: 10 * time.Minute,
	}}
	if err != nil || got != want {
		t.Errorf("got %+v, %v, want %+v", got, err, want)
	}
	if got, err := route.ParseBootstrap("tcp://:22?host=ssh.test"); err != nil || got.Target.Host != "ssh.test" {
		t.Errorf("with a host: %+v, %v", got, err)
	}
	for _, in := range []string{
		"tcp://:1", "tcp://:1?to=x", "tcp://:1?to=10.0.0.1:1&idle=x", "tcp://:1?to=10.0.0.1:1&other=1", "tcp://:1?%zz",
		"x?to=1",
	} {
		if _, err := route.ParseBootstrap(in); !errors.Is(err, route.ErrPort) {
			t.Errorf("ParseBootstrap(%q) = %v, want ErrPort", in, err)
		}
	}
}

func FuzzParsePort(f *testing.F) {
	for _, s := range []string{"tcp://:2222", "udp://[::1]:53", "tcp://127.0.0.1:0", "tcp://*:1", "x://", "tcp://:1?to=10.0.0.1:1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if p, err := route.ParsePort(s); err == nil {
			if again, err := route.ParsePort(p.Name()); err != nil || again != p {
				t.Errorf("ParsePort(%q) = %+v, and of its name: %+v, %v", s, p, again, err)
			}
		}
		_, _ = route.ParseBootstrap(s)
	})
}
