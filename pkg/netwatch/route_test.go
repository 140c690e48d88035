package netwatch_test

import (
	"net/netip"
	"testing"

	"github.com/culvert-tunnel/culvert/pkg/netwatch"
)

// TestHasRoute: every host reaches itself, and no host has a route to an address of no interface.
func TestHasRoute(t *testing.T) {
	if !netwatch.HasRoute(t.Context(), netip.MustParseAddrPort("127.0.0.1:7844")) {
		t.Error("no route to the loopback interface")
	}
	if netwatch.HasRoute(t.Context(), netip.MustParseAddrPort("[fe80::1%none]:7844")) {
		t.Error("a route to an address of an interface that does not exist")
	}
}
