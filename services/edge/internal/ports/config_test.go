package ports

import (
	"context"
	"net"
	"net/netip"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/culvert-tunnel/culvert/services/edge/internal/catalog"
)

// White box: which address a port may be bound to is a security boundary, so the decision has a table of its own.
func TestBindAddress(t *testing.T) {
	t.Parallel()
	addr := func(s string) netip.Addr {
		if s == "" {
			return netip.Addr{}
		}
		return netip.MustParseAddr(s)
	}
	for _, c := range []struct {
		limit, route, want string
		ok                 bool
	}{
		{"", "", "", true},
		{"", "192.0.2.1", "192.0.2.1", true},
		{"192.0.2.1", "", "192.0.2.1", true},
		{"192.0.2.1", "192.0.2.1", "192.0.2.1", true},
		{"192.0.2.1", "192.0.2.2", "", false},
		{"192.0.2.1", "0.0.0.0", "", false},
		{"127.0.0.1", "::1", "", false},
		{"0.0.0.0", "", "0.0.0.0", true},
		{"0.0.0.0", "192.0.2.1", "192.0.2.1", true},
		{"0.0.0.0", "2001:db8::1", "", false},
		{"::", "192.0.2.1", "192.0.2.1", true},
		{"::", "2001:db8::1", "2001:db8::1", true},
	} {
		cfg := Config{Address: addr(c.limit)}
		got, ok := cfg.bindAddress(addr(c.route))
		if ok != c.ok || (ok && got != addr(c.want)) {
			t.Errorf("ports.address %q, route %q: %v, %v", c.limit, c.route, got, ok)
		}
	}
}

func TestDefaultPorts(t *testing.T) {
	t.Parallel()
	cfg := Default()
	for port, want := range map[uint16]bool{0: true, 1: false, 22: false, 1023: false, 1024: true, 65535: true} {
		if got := cfg.allows(port); got != want {
			t.Errorf("port %d is allowed = %v", port, got)
		}
	}
}

// TestUnspecifiedIPv4 checks that 0.0.0.0 does not accept IPv6: by itself Go would open a socket of both families.
func TestUnspecifiedIPv4(t *testing.T) {
	t.Parallel()
	s := newShared(Default(), Deps{}, newMetrics(prometheus.NewRegistry()))
	for network, listen := range map[string]func(context.Context, *shared, string, catalog.Port) (Listener, error){
		"tcp": listenTCP,
		"udp": listenUDP,
	} {
		l, err := listen(t.Context(), s, "0.0.0.0:0", catalog.Port{})
		if err != nil {
			t.Fatal(err)
		}
		own, err := net.ResolveTCPAddr("tcp6", "[::1]:0")
		if err != nil {
			t.Fatal(err)
		}
		own.Port = int(l.Addr().Port())
		if network == "tcp" {
			if c, err := new(net.Dialer).DialContext(t.Context(), "tcp6", own.String()); err == nil {
				_ = c.Close()
				t.Error("tcp: IPv6 is accepted on 0.0.0.0")
			}
		} else if c, err := new(net.ListenConfig).ListenPacket(t.Context(), "udp6", own.String()); err == nil {
			_ = c.Close() // free for others, as it should be
		}
		_ = l.Close()
	}
}
