package dialer_test

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"github.com/culvert-tunnel/culvert/pkg/ingress"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
	"github.com/culvert-tunnel/culvert/services/proxy/internal/dialer"
	"github.com/culvert-tunnel/culvert/services/proxy/internal/policy"
)

func listenTCP(t *testing.T, address string) (l net.Listener, port string) {
	t.Helper()
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Skipf("listen on %s: %v", address, err)
	}
	t.Cleanup(func() { _ = l.Close() })
	_, port, err = net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return l, port
}

// addressesOfThisHost are all addresses of its interfaces.
func addressesOfThisHost(t *testing.T) (out []string) {
	t.Helper()
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range addrs {
		if n, ok := a.(*net.IPNet); ok && !n.IP.IsLinkLocalUnicast() { // those need a zone
			out = append(out, n.IP.String())
		}
	}
	return out
}

// TestVisitorsDoNotReachPrivateListeners dials a private listener by every name of it that there is.
func TestVisitorsDoNotReachPrivateListeners(t *testing.T) {
	for listen, hosts := range map[string][]string{
		"127.0.0.1:0": {"127.0.0.1", "0.0.0.0", "::ffff:127.0.0.1", "localhost", "", "127.1"},
		"0.0.0.0:0":   append(addressesOfThisHost(t), "127.0.0.1", "127.0.0.2", "0.0.0.0", "::ffff:127.0.0.1", "::", "localhost", ""),
		"[::]:0":      append(addressesOfThisHost(t), "::1", "127.0.0.1", "::ffff:127.0.0.3", "::", "0.0.0.0", "localhost", ""),
		"[::1]:0":     {"::1", "::"},
	} {
		l, port := listenTCP(t, listen)
		_, other := listenTCP(t, "127.0.0.1:0")
		rules := dialer.NewPoint(nil, l.Addr())
		visitors := rules.ForVisitors()
		for _, host := range hosts {
			to := net.JoinHostPort(host, port)
			c, err := visitors.Dial(t.Context(), net.Dialer{}, "tcp", to)
			if err == nil {
				_ = c.Close()
			}
			var unknown *net.DNSError // 127.1 is an address for some resolvers only
			if !errors.Is(err, policy.ErrDenied) && !errors.As(err, &unknown) {
				t.Errorf("listener %s, destination %s: %v, want a refusal", l.Addr(), to, err)
			}
		}
		if c, err := visitors.Dial(t.Context(), net.Dialer{}, "tcp", "127.0.0.1:"+other); err != nil {
			t.Errorf("another port: %v", err)
		} else {
			_ = c.Close()
		}
		if c, err := rules.Dial(t.Context(), net.Dialer{}, "tcp", l.Addr().String()); err != nil {
			t.Errorf("a rule that names %s: %v", l.Addr(), err)
		} else {
			_ = c.Close()
		}
	}
}

func TestPrivateNetworksDoNotReachPrivateListeners(t *testing.T) {
	l, _ := listenTCP(t, "127.0.0.1:0")
	set := func(tunnel.ID) ingress.WarpRouting { return ingress.WarpRouting{} }
	r := dialer.New(set, dialer.NewPoint(nil, l.Addr()))
	dst := netip.MustParseAddrPort(l.Addr().String())
	for _, addr := range []netip.Addr{dst.Addr(), netip.AddrFrom16(dst.Addr().As16()), netip.IPv4Unspecified()} {
		dst := netip.AddrPortFrom(addr, dst.Port())
		if c, err := r.DialTCP(t.Context(), tunnel.ID{1}, dst); !errors.Is(err, policy.ErrDenied) {
			t.Errorf("DialTCP(%s): %v, %v", dst, c, err)
		}
	}
	if c, err := r.DialUDP(t.Context(), tunnel.ID{1}, dst); err != nil { // a TCP listener is not there
		t.Errorf("DialUDP: %v", err)
	} else {
		_ = c.Close()
	}
}

// TestNoRuleReachesAPrivateSocket dials it by its name and through links.
func TestNoRuleReachesAPrivateSocket(t *testing.T) {
	dir := t.TempDir()
	private, open := filepath.Join(dir, "private.sock"), filepath.Join(dir, "open.sock")
	for _, path := range []string{private, open} {
		l, err := net.Listen("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
	}
	link, folder := filepath.Join(dir, "link.sock"), filepath.Join(dir, "folder")
	if err := errors.Join(os.Symlink(private, link), os.Symlink(dir, folder)); err != nil {
		t.Fatal(err)
	}
	p := dialer.NewPoint(nil, &net.UnixAddr{Name: private, Net: "unix"})
	for _, path := range []string{private, link, folder + "/private.sock", dir + "/x/../private.sock", dir + "//private.sock"} {
		if c, err := p.Dial(t.Context(), net.Dialer{}, "unix", path); err == nil {
			_ = c.Close()
			t.Errorf("%s was dialled", path)
		}
	}
	c, err := p.Dial(t.Context(), net.Dialer{}, "unix", open)
	if err != nil {
		t.Fatalf("another socket: %v", err)
	}
	_ = c.Close()
}
