package keeper

import (
	"context"
	"log/slog"
	"net/netip"
	"testing"

	"github.com/culvert-tunnel/culvert/pkg/lease"
	"github.com/culvert-tunnel/culvert/pkg/transport"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

// noAddress is a Dialer that is asked for a local address only.
type noAddress struct{ Dialer }

func (noAddress) LocalIP(context.Context, transport.Session) netip.Addr { return netip.Addr{} }

// TestReplacedCredentialsCountForTheNextRegistration: the tunnel stays, the secret is the new one.
func TestReplacedCredentialsCountForTheNextRegistration(t *testing.T) {
	id := tunnel.ID{1}
	first := Credentials{Credentials: tunnel.Credentials{TunnelID: id, Secret: tunnel.Secret("first")}}
	s := New(Config{}, Deps{Dialer: noAddress{}, Logger: slog.New(slog.DiscardHandler)}, []Credentials{first})
	secret := func() string {
		return string(s.keepers[0].Request(t.Context(), nil, tunnel.Slot{Tunnel: id}, lease.Register{}).Auth.Secret)
	}
	if got := secret(); got != "first" {
		t.Errorf("secret of a registration: %q, want the first one", got)
	}
	if err := s.ReplaceCredentials(tunnel.Credentials{TunnelID: id, Secret: tunnel.Secret("second")}); err != nil {
		t.Errorf("ReplaceCredentials: %v", err)
	}
	if got := secret(); got != "second" {
		t.Errorf("secret of a registration after the replacement: %q, want the second one", got)
	}
	if err := s.ReplaceCredentials(tunnel.Credentials{TunnelID: tunnel.ID{2}}); err == nil {
		t.Error("ReplaceCredentials of a tunnel that is not served: no error")
	}
}
