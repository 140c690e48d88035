package private_test

import (
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"testing"

	"github.com/culvert-tunnel/culvert/pkg/ingress"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
	"github.com/culvert-tunnel/culvert/services/proxy/internal/opener"
	"github.com/culvert-tunnel/culvert/services/proxy/internal/private"
	"github.com/culvert-tunnel/culvert/services/proxy/internal/router"
)

// TestEachTunnelDialsByItsOwnRules dials for two tunnels, before and after one of them got rules that deny every destination.
func TestEachTunnelDialsByItsOwnRules(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	dst := netip.MustParseAddrPort(l.Addr().String())
	log := slog.New(slog.DiscardHandler)
	table, err := router.New(ingress.Default503(), opener.New(log, nil))
	if err != nil {
		t.Fatal(err)
	}
	defer table.Close()
	n, err := private.New(private.Default(), private.Deps{Table: table, Logger: log})
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	first, second := tunnel.ID{1}, tunnel.ID{2}
	dial := func(id tunnel.ID) error {
		c, tcp := n.Dialer().DialTCP(t.Context(), id, dst)
		if tcp == nil {
			_ = c.Close()
		}
		c, udp := n.Dialer().DialUDP(t.Context(), id, dst)
		if udp == nil {
			_ = c.Close()
		}
		if (tcp == nil) != (udp == nil) || errors.Is(tcp, ingress.ErrDenied) != errors.Is(udp, ingress.ErrDenied) {
			t.Errorf("TCP: %v, UDP: %v", tcp, udp)
		}
		return tcp
	}
	for _, id := range []tunnel.ID{first, second} {
		if err := dial(id); err != nil {
			t.Errorf("%s with local rules: %v", id, err)
		}
	}
	prefix := "192.0.2.0/24" // a destination that no rule contains is denied
	denied, err := ingress.CompileRemote(ingress.Document{WarpRouting: ingress.WarpSpec{IPRules: []ingress.IPRuleSpec{{Prefix: &prefix}}}})
	if err != nil {
		t.Fatal(err)
	}
	if err := table.Swap(first, denied); err != nil {
		t.Fatal(err)
	}
	if err := dial(first); !errors.Is(err, ingress.ErrDenied) {
		t.Errorf("with rules that deny it: %v", err)
	}
	if err := dial(second); err != nil {
		t.Errorf("with rules of another tunnel that deny it: %v", err)
	}
}
