package dialer_test

import (
	"errors"
	"net"
	"path/filepath"
	"testing"

	"github.com/culvert-tunnel/culvert/services/proxy/internal/dialer"
	"github.com/culvert-tunnel/culvert/services/proxy/internal/policy"
)

// TestPointAsksThePolicy dials what a policy allows and what it does not.
func TestPointAsksThePolicy(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "x.sock")
	unix, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close()
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer tcp.Close()
	_, port, err := net.SplitHostPort(tcp.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	byName, byAddr := net.JoinHostPort("localhost", port), tcp.Addr().String()
	for _, tc := range []struct {
		name          string
		policy        policy.Config
		network, addr string
		allowed       bool
	}{
		{"no policy", policy.Config{}, "tcp", byAddr, true},
		{"address", policy.Config{DenyNetworks: []string{"127.0.0.0/8"}}, "tcp", byAddr, false},
		{"address over UDP", policy.Config{DenyNetworks: []string{"127.0.0.0/8"}}, "udp", byAddr, false},
		{"resolved address", policy.Config{DenyNetworks: []string{"127.0.0.0/8", "::1/128"}}, "tcp", byName, false},
		{"another network", policy.Config{DenyNetworks: []string{"10.0.0.0/8"}}, "tcp", byName, true},
		{"name", policy.Config{DenyHosts: []string{"localhost"}}, "tcp", byName, false},
		{"name, by its address", policy.Config{DenyHosts: []string{"localhost"}}, "tcp", byAddr, true},
		{"socket", policy.Config{AllowUnix: []string{"none"}}, "unix", socket, false},
		{"allowed socket", policy.Config{AllowUnix: []string{socket}, AllowNetworks: []string{"none"}}, "unix", socket, true},
	} {
		p, err := policy.New(tc.policy)
		if err != nil {
			t.Fatal(err)
		}
		c, err := dialer.NewPoint(p).Dial(t.Context(), net.Dialer{}, tc.network, tc.addr)
		if err == nil {
			_ = c.Close()
		}
		if tc.allowed != (err == nil) || err != nil && !errors.Is(err, policy.ErrDenied) {
			t.Errorf("%s: %v, want allowed %v", tc.name, err, tc.allowed)
		}
	}
}
