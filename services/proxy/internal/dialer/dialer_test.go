package dialer_test

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/ingress"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
	"github.com/culvert-tunnel/culvert/services/proxy/internal/dialer"
)

// fake responses with an error that names it.
type fake struct{}

var errFake = errors.New("fake")

func (fake) DialTCP(context.Context, netip.AddrPort) (net.Conn, error) { return nil, errFake }
func (fake) DialUDP(context.Context, netip.AddrPort) (net.Conn, error) { return nil, errFake }

func rule(t *testing.T, prefix string, allow bool) ingress.IPRule {
	t.Helper()
	r, err := ingress.ParseIPRule(ingress.IPRuleSpec{Prefix: &prefix, Allow: allow})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestReserved(t *testing.T) {
	virtual := netip.MustParseAddrPort("192.0.2.53:53")
	set := ingress.WarpRouting{ConnectTimeout: time.Second, IPRules: []ingress.IPRule{rule(t, "0.0.0.0/0", false)}}
	r := dialer.New(func(tunnel.ID) ingress.WarpRouting { return set }, nil)
	r.Reserve(virtual, fake{})
	for _, dst := range []string{"192.0.2.53:53", "[::ffff:192.0.2.53]:53"} {
		if _, err := r.DialTCP(t.Context(), tunnel.ID{1}, netip.MustParseAddrPort(dst)); !errors.Is(err, errFake) {
			t.Errorf("DialTCP(%s): %v", dst, err)
		}
		if _, err := r.DialUDP(t.Context(), tunnel.ID{1}, netip.MustParseAddrPort(dst)); !errors.Is(err, errFake) {
			t.Errorf("DialUDP(%s): %v", dst, err)
		}
	}
	if _, err := r.DialTCP(t.Context(), tunnel.ID{1}, netip.MustParseAddrPort("192.0.2.53:54")); !errors.Is(err, ingress.ErrDenied) {
		t.Errorf("DialTCP of another port: %v", err)
	}
	r.Reserve(virtual, nil)
	if _, err := r.DialUDP(t.Context(), tunnel.ID{1}, virtual); !errors.Is(err, ingress.ErrDenied) {
		t.Errorf("DialUDP after the reservation ended: %v", err)
	}
}

func TestNetworkAndRules(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	dst := netip.MustParseAddrPort(l.Addr().String())
	var set ingress.WarpRouting
	r := dialer.New(func(tunnel.ID) ingress.WarpRouting { return set }, nil)
	dial := func() error {
		c, err := r.DialTCP(t.Context(), tunnel.ID{1}, netip.AddrPortFrom(netip.AddrFrom16(dst.Addr().As16()), dst.Port()))
		if err == nil {
			_ = c.Close()
		}
		return err
	}
	if err := dial(); err != nil {
		t.Errorf("without rules: %v", err)
	}
	set.IPRules = []ingress.IPRule{rule(t, "10.0.0.0/8", true)}
	if err := dial(); !errors.Is(err, ingress.ErrDenied) {
		t.Errorf("not in the rules: %v", err)
	}
	set.IPRules = append(set.IPRules, rule(t, "127.0.0.0/8", true))
	if err := dial(); err != nil {
		t.Errorf("allowed: %v", err)
	}
	if c, err := r.DialUDP(t.Context(), tunnel.ID{1}, dst); err != nil || c.RemoteAddr().String() != dst.String() {
		t.Errorf("DialUDP: %v", err)
	} else {
		_ = c.Close()
	}
}
