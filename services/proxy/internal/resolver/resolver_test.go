package resolver_test

import (
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/culvert-tunnel/culvert/services/proxy/internal/dialer"
	"github.com/culvert-tunnel/culvert/services/proxy/internal/resolver"
)

var _ dialer.Dialer = (*resolver.Service)(nil)

func TestResolverOfTheHost(t *testing.T) {
	for name, c := range map[string]struct{ text, want string }{
		"empty":    {"", "127.0.0.1:53"},
		"usual":    {"search example.org\nnameserver 127.0.0.2\nnameserver 2001:db8::1\noptions edns0\n", "127.0.0.2:53"},
		"comments": {"# nameserver 127.0.0.2\n;nameserver 127.0.0.3\nnameserver\t127.0.0.4 # why\n", "127.0.0.4:53"},
		"odd":      {"nameserver\nnameserver host\nNAMESERVER 127.0.0.2\nnameserver 127.0.0.3", "127.0.0.3:53"},
		"crlf":     {"nameserver 127.0.0.2\r\n", "127.0.0.2:53"},
	} {
		file := filepath.Join(t.TempDir(), "resolv.conf")
		if err := os.WriteFile(file, []byte(c.text), 0o600); err != nil {
			t.Fatal(err)
		}
		if got := dialled(t, newService(t, resolver.Config{}, resolver.FromFile(file))); got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}

func TestConfigIsChecked(t *testing.T) {
	for text, want := range map[string]string{
		"127.0.0.1:53": "", "[::1]:5353": "", "127.0.0.1": "IP:port", "localhost:53": "IP:port", "127.0.0.1:0": "IP:port",
	} {
		err := resolver.Config{ResolverAddrs: []string{text}}.Validate()
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
	err := resolver.Config{ResolverAddrs: slices.Repeat([]string{"127.0.0.1:53"}, 11)}.Validate()
	if err == nil || !strings.Contains(err.Error(), "too many addresses provided, max: 10") {
		t.Errorf("11 addresses: %v", err)
	}
}

func newService(t *testing.T, cfg resolver.Config, opts ...resolver.Option) *resolver.Service {
	t.Helper()
	s, err := resolver.New(cfg, slog.New(slog.DiscardHandler), prometheus.NewRegistry(), opts...)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// dialled says where a datagram to the reserved address would go.
func dialled(t *testing.T, s *resolver.Service) string {
	t.Helper()
	c, err := s.DialUDP(t.Context(), resolver.Virtual())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	return c.RemoteAddr().String()
}

func TestFixedListIsUsedAtRandom(t *testing.T) {
	list := []string{"127.0.0.1:1053", "127.0.0.2:1053", "127.0.0.3:1053"}
	s := newService(t, resolver.Config{ResolverAddrs: list}, resolver.FromFile("/nonexistent"))
	seen := map[string]bool{}
	for len(seen) < len(list) { // ends with probability 1
		seen[dialled(t, s)] = true
	}
	for _, a := range list {
		if !seen[a] {
			t.Errorf("%s is never used: %v", a, seen)
		}
	}
}

func TestHostsResolverIsFollowed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "resolv.conf")
		s := newService(t, resolver.Config{}, resolver.FromFile(file))
		if got := dialled(t, s); got != "127.0.0.1:53" {
			t.Errorf("before the file is there: %s", got)
		}
		go s.Run(t.Context())
		for i, c := range []struct{ text, want string }{
			{"nameserver 127.0.0.7\nnameserver 127.0.0.8\n", "127.0.0.7:53"},
			{"search nothing\n", "127.0.0.7:53"},
			{"nameserver 127.0.0.9\n", "127.0.0.9:53"},
		} {
			if err := os.WriteFile(file, []byte(c.text), 0o600); err != nil {
				t.Fatal(err)
			}
			<-time.After(5 * time.Minute)
			synctest.Wait()
			if got := dialled(t, s); got != c.want {
				t.Errorf("step %d: %s, want %s", i, got, c.want)
			}
		}
	})
}

func TestVirtualAddress(t *testing.T) {
	if got := resolver.Virtual(); got != netip.MustParseAddrPort("[2606:4700:cf1:2000::1]:53") {
		t.Errorf("the reserved address is %s", got)
	}
}

func TestTCPReachesTheResolver(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	s := newService(t, resolver.Config{ResolverAddrs: []string{l.Addr().String()}})
	c, err := s.DialTCP(t.Context(), resolver.Virtual())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if fmt.Sprint(c.RemoteAddr()) != l.Addr().String() {
		t.Errorf("connected to %s, want %s", c.RemoteAddr(), l.Addr())
	}
}
