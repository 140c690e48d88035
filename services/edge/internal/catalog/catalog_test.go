package catalog_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/culvert-tunnel/culvert/pkg/tunnel"
	"github.com/culvert-tunnel/culvert/services/edge/internal/catalog"
)

func open(t *testing.T, dir string) *catalog.Catalog {
	t.Helper()
	c, err := catalog.Open(dir)
	if err != nil {
		t.Fatalf("Open: %v", err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func day() time.Time { return time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC) }

func TestCatalogSurvivesReopening(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "edge")
	c := open(t, dir)
	a, err := c.CreateTunnel("alpha", day())
	if err != nil {
		t.Fatalf("CreateTunnel: %v", err)
	}
	if _, err := c.CreateTunnel("alpha", day()); !errors.Is(err, tunnel.ErrConflict) {
		t.Errorf("second CreateTunnel(alpha) = %v, want ErrConflict", err)
	}
	b, err := c.CreateTunnel("beta", day())
	if err != nil {
		t.Fatalf("CreateTunnel: %v", err)
	}
	for host, id := range map[string]tunnel.ID{"App.Example.com.": a.ID, "*.example.com": b.ID} {
		if _, err := c.AddRoute(host, id, day()); err != nil {
			t.Fatalf("AddRoute(%s): %v", host, err)
		}
	}
	if _, err := catalog.Open(dir); err == nil {
		t.Error("a second Open of the same directory succeeded")
	}
	tunnels, routes := c.Tunnels(), c.Routes()
	if err := c.Close(); err != nil {
		t.Fatalf("Close: %v", err)
	}

	c = open(t, dir)
	if diff := cmp.Diff(tunnels, c.Tunnels(), cmp.Comparer(sameSecret)); diff != "" {
		t.Errorf("tunnels after reopening (-before +after):\n%s", diff)
	}
	if diff := cmp.Diff(routes, c.Routes()); diff != "" {
		t.Errorf("routes after reopening (-before +after):\n%s", diff)
	}
	if e, ok := c.Lookup("app.example.com"); !ok || e.Tunnel != a.ID {
		t.Errorf("Lookup(app.example.com) = %v, %v", e, ok)
	}
	info, err := os.Stat(filepath.Join(dir, "tunnels.json"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("tunnel file: mode %v, %v; want 0600", info.Mode(), err)
	}
}

func sameSecret(a, b tunnel.Secret) bool { return string([]byte(a)) == string([]byte(b)) }

func TestRoutes(t *testing.T) {
	t.Parallel()
	c := open(t, t.TempDir())
	a, _ := c.CreateTunnel("a", day())
	b, _ := c.CreateTunnel("b", day())
	if _, err := c.AddRoute("x.test", a.ID, day()); err != nil {
		t.Fatalf("AddRoute: %v", err)
	}
	again, err := c.AddRoute("X.test.", a.ID, day().Add(time.Hour))
	if err != nil || !again.CreatedAt.Equal(day()) {
		t.Errorf("same route again = %v, %v; want the first one", again, err)
	}
	if _, err := c.AddRoute("x.test", b.ID, day()); !errors.Is(err, tunnel.ErrConflict) {
		t.Errorf("route of another tunnel = %v, want ErrConflict", err)
	}
	if _, err := c.AddRoute("x/y", a.ID, day()); !errors.Is(err, catalog.ErrInvalid) {
		t.Errorf("malformed route = %v, want ErrInvalid", err)
	}
	if _, err := c.AddRoute("y.test", tunnel.ID{1}, day()); !errors.Is(err, tunnel.ErrNotFound) {
		t.Errorf("route to nowhere = %v, want ErrNotFound", err)
	}
	if err := c.DeleteRoute("z.test"); !errors.Is(err, tunnel.ErrNotFound) {
		t.Errorf("DeleteRoute(z.test) = %v, want ErrNotFound", err)
	}
	if err := c.DeleteRoute("x.TEST"); err != nil {
		t.Errorf("DeleteRoute(x.TEST) = %v", err)
	}
	if _, ok := c.Lookup("x.test"); ok {
		t.Error("a deleted route still matches")
	}
}

func TestAuthenticate(t *testing.T) {
	t.Parallel()
	c := open(t, t.TempDir())
	tn, err := c.CreateTunnel("a", day())
	if err != nil {
		t.Fatalf("CreateTunnel: %v", err)
	}
	good := tn.Credentials()
	for name, change := range map[string]func(*tunnel.Credentials){
		"wrong secret":   func(x *tunnel.Credentials) { x.Secret = make([]byte, 32) },
		"empty secret":   func(x *tunnel.Credentials) { x.Secret = nil },
		"short secret":   func(x *tunnel.Credentials) { x.Secret = good.Secret[:31] },
		"wrong account":  func(x *tunnel.Credentials) { x.AccountTag += "x" },
		"unknown tunnel": func(x *tunnel.Credentials) { x.TunnelID[0]++ },
		"zero":           func(x *tunnel.Credentials) { *x = tunnel.Credentials{} },
	} {
		bad := good
		change(&bad)
		if _, ok := c.Authenticate(bad); ok {
			t.Errorf("%s: accepted", name)
		}
	}
	if got, ok := c.Authenticate(good); !ok || got.ID != tn.ID {
		t.Errorf("right credentials: %v, %v", got.ID, ok)
	}
	rotated, err := c.RotateSecret(tn.ID)
	if err != nil {
		t.Fatalf("RotateSecret: %v", err)
	}
	if _, ok := c.Authenticate(good); ok {
		t.Error("the old secret was accepted after the rotation")
	}
	if _, ok := c.Authenticate(rotated.Credentials()); !ok {
		t.Error("the new secret was refused")
	}
	if err := c.DeleteTunnel(tn.ID, day()); err != nil {
		t.Fatalf("DeleteTunnel: %v", err)
	}
	if _, ok := c.Authenticate(rotated.Credentials()); ok {
		t.Error("a deleted tunnel was accepted")
	}
	if _, err := c.Tunnel("a"); !errors.Is(err, tunnel.ErrNotFound) {
		t.Errorf("Tunnel(a) after its end = %v", err)
	}
	if _, err := c.CreateTunnel("a", day()); err != nil {
		t.Errorf("the name of a deleted tunnel is not free: %v", err)
	}
}

func TestNames(t *testing.T) {
	t.Parallel()
	c := open(t, t.TempDir())
	for _, name := range []string{"", " a", "a/b", "a\n", strings.Repeat("x", 129), "6ff42ae2-765d-4adf-8112-31c55c1551ef"} {
		if _, err := c.CreateTunnel(name, day()); !errors.Is(err, catalog.ErrInvalid) {
			t.Errorf("CreateTunnel(%q) = %v, want ErrInvalid", name, err)
		}
	}
	tn, err := c.CreateTunnel("my tunnel ü", day())
	if err != nil {
		t.Fatalf("CreateTunnel: %v", err)
	}
	for _, ref := range []string{"my tunnel ü", tn.ID.String(), strings.ReplaceAll(tn.ID.String(), "-", "")} {
		if got, err := c.Tunnel(ref); err != nil || got.ID != tn.ID {
			t.Errorf("Tunnel(%q) = %v, %v", ref, got.ID, err)
		}
	}
}

func TestConcurrentChanges(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	c := open(t, dir)
	tn, _ := c.CreateTunnel("a", day())
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			host := fmt.Sprintf("h%d.test", i)
			if _, err := c.AddRoute(host, tn.ID, day()); err != nil {
				t.Errorf("AddRoute(%s): %v", host, err)
			}
			if _, ok := c.Lookup(host); !ok {
				t.Errorf("Lookup(%s) does not see the change", host)
			}
		})
	}
	wg.Wait()
	if n := len(c.Routes()); n != 8 {
		t.Errorf("%d routes, want 8", n)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "*.tmp-*")); len(left) != 0 {
		t.Errorf("temporary files left: %v", left)
	}
}

func TestDamagedFile(t *testing.T) {
	t.Parallel()
	for name, content := range map[string]string{"not json": "{", "other version": `{"version":3}`, "bad port": `{"version":2,"ports":[{"listen":"tcp://x"}]}`, "port without target": `{"version":2,"ports":[{"listen":"tcp://:1"}]}`, "bad id": `{"version":1,"tunnels":[{"id":"x"}]}`} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "tunnels.json"), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := catalog.Open(dir); err == nil || !strings.Contains(err.Error(), "tunnels.json") {
			t.Errorf("%s: Open = %v, want an error that names the file", name, err)
		}
	}
}
