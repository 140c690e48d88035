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

	"github.com/culvert-tunnel/culvert/pkg/testkit"
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
		if c.Validity(bad, day()).Valid {
			t.Errorf("%s: accepted", name)
		}
	}
	before := c.Validity(good, day())
	if !before.Valid || !before.Until.IsZero() {
		t.Errorf("right credentials: %+v, want valid without end", before)
	}
	rotated, err := c.RotateSecret(tn.ID, day(), 0)
	if err != nil {
		t.Fatalf("RotateSecret: %v", err)
	}
	testkit.Receive(t, "notice of the change", before.Changed)
	if c.Validity(good, day()).Valid {
		t.Error("the old secret is valid after a rotation without grace")
	}
	if !c.Validity(rotated.Credentials(), day()).Valid {
		t.Error("the new secret is not valid")
	}
	if err := c.DeleteTunnel(tn.ID, day()); err != nil {
		t.Fatalf("DeleteTunnel: %v", err)
	}
	if c.Validity(rotated.Credentials(), day()).Valid {
		t.Error("the secret of a deleted tunnel is valid")
	}
	if _, err := c.Tunnel("a"); !errors.Is(err, tunnel.ErrNotFound) {
		t.Errorf("Tunnel(a) after its end = %v", err)
	}
	if _, err := c.CreateTunnel("a", day()); err != nil {
		t.Errorf("the name of a deleted tunnel is not free: %v", err)
	}
}

func TestRotationWithGrace(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	c := open(t, dir)
	tn, err := c.CreateTunnel("a", day())
	if err != nil {
		t.Fatalf("CreateTunnel: %v", err)
	}
	first := tn.Credentials()
	second, err := c.RotateSecret(tn.ID, day(), time.Hour)
	if err != nil {
		t.Fatalf("RotateSecret: %v", err)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	c = open(t, dir)
	end := day().Add(time.Hour)
	if v := c.Validity(first, end.Add(-1)); !v.Valid || !v.Until.Equal(end) {
		t.Errorf("old secret during the grace period, after reopening: %+v, want valid until %v", v, end)
	}
	if v := c.Validity(second.Credentials(), end.Add(-1)); !v.Valid || !v.Until.IsZero() {
		t.Errorf("new secret: %+v, want valid without end", v)
	}
	if c.Validity(first, end).Valid {
		t.Error("the old secret is valid after the grace period")
	}
	if _, err := c.RotateSecret(tn.ID, day(), time.Hour); err != nil {
		t.Fatal(err)
	}
	if c.Validity(first, day()).Valid || !c.Validity(second.Credentials(), day()).Valid {
		t.Error("after a second rotation the previous secret alone must be valid beside the new one")
	}
	if _, err := c.CreateTunnel("b", end); err != nil {
		t.Fatal(err)
	}
	if b, err := os.ReadFile(filepath.Join(dir, "tunnels.json")); err != nil || strings.Contains(string(b), "previous_secret") {
		t.Errorf("a secret that is no longer valid is still in the file (%v)", err)
	}
	if _, err := c.RotateSecret(tn.ID, day(), -1); !errors.Is(err, catalog.ErrInvalid) {
		t.Errorf("negative grace period: %v, want ErrInvalid", err)
	}
}

func TestNames(t *testing.T) {
	t.Parallel()
	c := open(t, t.TempDir())
	for _, name := range []string{
		"", " a", "a b", "a/b", "a\n", "..", "-a", strings.Repeat("x", 129),
		"6ff42ae2-765d-4adf-8112-31c55c1551ef", "a\u202eb", "a\u2066b", "a\u200eb", "a\xff",
	} {
		if _, err := c.CreateTunnel(name, day()); !errors.Is(err, catalog.ErrInvalid) {
			t.Errorf("CreateTunnel(%q) = %v, want ErrInvalid", name, err)
		}
	}
	tn, err := c.CreateTunnel("my-tunnel_ü.1", day())
	if err != nil {
		t.Fatalf("CreateTunnel: %v", err)
	}
	for _, ref := range []string{"my-tunnel_ü.1", tn.ID.String(), strings.ReplaceAll(tn.ID.String(), "-", "")} {
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
	if left, _ := os.ReadDir(dir); len(left) != 2 {
		t.Errorf("%v are left, want the tunnel file and the lock", left)
	}
}

func TestDamagedFile(t *testing.T) {
	t.Parallel()
	for name, content := range map[string]string{
		"not json": "{", "other version": `{"version":3}`,
		"bad port": `{"version":2,"ports":[{"listen":"tcp://x"}]}`, "port without target": `{"version":2,"ports":[{"listen":"tcp://:1"}]}`,
		"bad id": `{"version":1,"tunnels":[{"id":"x"}]}`,
	} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "tunnels.json"), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := catalog.Open(dir); err == nil || !strings.Contains(err.Error(), "tunnels.json") {
			t.Errorf("%s: Open = %v, want an error that names the file", name, err)
		}
	}
}
