package catalog_test

import (
	"encoding/json"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/culvert-tunnel/culvert/pkg/tunnel"
	"github.com/culvert-tunnel/culvert/services/edge/internal/catalog"
	"github.com/culvert-tunnel/culvert/services/edge/internal/route"
)

func port(t *testing.T, text string) route.Port {
	t.Helper()
	p, err := route.ParseBootstrap(text)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func samePort(a, b catalog.Port) bool {
	return a.Port == b.Port && a.Tunnel == b.Tunnel && a.CreatedAt.Equal(b.CreatedAt)
}

func fileVersion(t *testing.T, dir string) int {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, "tunnels.json"))
	if err != nil {
		t.Fatal(err)
	}
	var d struct{ Version int }
	if err := json.Unmarshal(b, &d); err != nil {
		t.Fatal(err)
	}
	return d.Version
}

func TestPortsSurviveReopening(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	c := open(t, dir)
	tn, _ := c.CreateTunnel("a", day())
	if _, err := c.AddRoute("a.test", tn.ID, day()); err != nil {
		t.Fatal(err)
	}
	if v := fileVersion(t, dir); v != 1 {
		t.Errorf("version %d without a port, want 1: an older edge reads it", v)
	}
	var want []catalog.Port
	for _, text := range []string{
		"tcp://:2222?to=10.0.0.5:22&proxy_protocol=v2&idle=1h", "tcp://127.0.0.1:2223?host=ssh.test", "udp://[::1]:53?to=[fd00::53]:53",
	} {
		p, err := c.AddPort(port(t, text), tn.ID, day())
		if err != nil {
			t.Fatalf("AddPort(%s): %v", text, err)
		}
		want = append(want, p)
	}
	if v := fileVersion(t, dir); v != 2 {
		t.Errorf("version %d with ports, want 2: an older edge would lose them", v)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	c = open(t, dir)
	if diff := cmp.Diff(want, c.Ports(), cmp.Comparer(samePort)); diff != "" {
		t.Errorf("ports after reopening (-before +after):\n%s", diff)
	}
	for _, p := range want {
		if err := c.DeletePort(p.Port); err != nil {
			t.Errorf("DeletePort(%s): %v", p.Name(), err)
		}
	}
	if v := fileVersion(t, dir); v != 1 || len(c.Ports()) != 0 {
		t.Errorf("version %d and %d ports after all are gone", v, len(c.Ports()))
	}
}

func TestPortConflicts(t *testing.T) {
	t.Parallel()
	c := open(t, t.TempDir())
	a, _ := c.CreateTunnel("a", day())
	b, _ := c.CreateTunnel("b", day())
	p := port(t, "tcp://:2222?to=10.0.0.5:22")
	if _, err := c.AddPort(p, a.ID, day()); err != nil {
		t.Fatalf("AddPort: %v", err)
	}
	again, err := c.AddPort(p, a.ID, day().Add(time.Hour))
	if err != nil || !again.CreatedAt.Equal(day()) {
		t.Errorf("the same port again = %v, %v, want the first one", again, err)
	}
	if known, err := c.CheckPort(p, a.ID); !known || err != nil {
		t.Errorf("CheckPort of a known port = %v, %v", known, err)
	}
	if _, err := c.AddPort(p, b.ID, day()); !errors.Is(err, tunnel.ErrConflict) {
		t.Errorf("port of another tunnel = %v, want ErrConflict", err)
	}
	other := p
	other.Target.To = netip.MustParseAddrPort("10.0.0.6:22")
	if _, err := c.AddPort(other, a.ID, day()); !errors.Is(err, tunnel.ErrConflict) {
		t.Errorf("another target = %v, want ErrConflict", err)
	}
	if _, err := c.AddPort(port(t, "tcp://:2223?host=a.test"), tunnel.ID{1}, day()); !errors.Is(err, tunnel.ErrNotFound) {
		t.Errorf("port of no tunnel = %v, want ErrNotFound", err)
	}
	if _, err := c.AddPort(route.Port{Network: route.TCP, Number: 1}, a.ID, day()); !errors.Is(err, catalog.ErrInvalid) {
		t.Errorf("port without target = %v, want ErrInvalid", err)
	}
	if err := c.DeletePort(port(t, "udp://:2222?to=10.0.0.5:22")); !errors.Is(err, tunnel.ErrNotFound) {
		t.Errorf("DeletePort of another network = %v, want ErrNotFound", err)
	}
	if err := c.DeleteTunnel(a.ID, day()); err != nil || len(c.Ports()) != 0 {
		t.Errorf("after its tunnel a port is still there: %v, %v", c.Ports(), err)
	}
}
