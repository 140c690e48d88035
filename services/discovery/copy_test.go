package discovery_test

import (
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/edgepool"
	"github.com/culvert-tunnel/culvert/pkg/testkit"
	"github.com/culvert-tunnel/culvert/services/discovery"
	"github.com/culvert-tunnel/culvert/services/discovery/internal/dnstest"
)

// saveCopy runs a replica that finds the edge, and returns its configuration and the copy that it leaves.
func saveCopy(t *testing.T) (cfg discovery.Config, file string) {
	t.Helper()
	cfg = config(dnstest.Start(t, zone...))
	cfg.StateDir = filepath.Join(t.TempDir(), "state", "culvert")
	s, stop := start(t, cfg, openStore(t))
	testkit.Eventually(t, "ready", func() bool { return s.Ready() == nil })
	stop()
	files, err := filepath.Glob(filepath.Join(cfg.StateDir, "*"))
	if err != nil || len(files) != 1 {
		t.Fatalf("files of the state directory: %q, %v", files, err)
	}
	if info, err := os.Stat(files[0]); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode of the copy: %v, %v", info, err)
	}
	return cfg, files[0]
}

// dead is a name server that takes queries and responds to none.
func dead(t *testing.T) string {
	t.Helper()
	conn, err := (&net.ListenConfig{}).ListenPacket(t.Context(), "udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() }) // nothing is lost with it
	return conn.LocalAddr().String()
}

// A start with a dead name server and an empty store has the pool of the last run after 3 s, and looks on.
func TestColdStartWithACopy(t *testing.T) {
	cfg, _ := saveCopy(t)
	cfg.Resolver, cfg.DoT.Addr = dead(t), "off"
	var logged lines
	began := time.Now()
	store := openStore(t)
	s, _ := startLogged(t, cfg, store, slog.New(slog.NewTextHandler(&logged, nil)))
	testkit.Eventually(t, "a pool", func() bool {
		pool, err := store.Pool(t.Context(), "")
		return err == nil && pool.Count(edgepool.Any) == 2 && pool.Source == edgepool.SourceSRV
	})
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("the copy was used after %v", took)
	} else {
		t.Logf("pool of the former run after %v", took.Round(time.Millisecond))
	}
	testkit.Eventually(t, "the reason", func() bool { return show(t, s).Stale && s.Ready() == nil })
	if !strings.Contains(logged.String(), "edge pool of a former run is at hand") {
		t.Errorf("log: %s", logged.String())
	}
}

func TestCopyThatCannotBeUsed(t *testing.T) {
	cfg, file := saveCopy(t)
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	cfg.Resolver, cfg.DoT.Addr = dead(t), "off"
	cfg.Timeout = 50 * time.Millisecond
	for name, tc := range map[string]struct{ content, want string }{
		"damaged": {strings.Replace(string(content), "192.0.2.1", "192.0.2.9", 1), "damaged: the content has the SHA-256"},
		"whole":   {string(content), ""},
		"empty":   {"", "damaged: unexpected end"},
	} {
		if err := os.WriteFile(file, []byte(tc.content), 0o600); err != nil {
			t.Fatal(err)
		}
		var logged lines
		store := openStore(t)
		s, stop := startLogged(t, cfg, store, slog.New(slog.NewTextHandler(&logged, nil)))
		testkit.Eventually(t, name+": a lookup", func() bool { return show(t, s).Stale || show(t, s).Pool != nil })
		stop()
		if n := strings.Count(logged.String(), "copy of the edge pool ignored"); (tc.want != "") != (n == 1) ||
			!strings.Contains(logged.String(), tc.want) {
			t.Errorf("%s: told %d times: %s", name, n, logged.String())
		}
	}
	// The copy of another edge, under the name of this one.
	other := cfg
	other.SRV.Region = "us"
	var logged lines
	if err := os.WriteFile(file, content, 0o600); err != nil {
		t.Fatal(err)
	}
	s, stop := startLogged(t, other, openStore(t), slog.New(slog.NewTextHandler(&logged, nil)))
	testkit.Eventually(t, "a lookup of another edge", func() bool { return show(t, s).Stale })
	stop()
	if show(t, s).Pool != nil {
		t.Error("the copy of another edge was used")
	}
}

// A directory that cannot be written costs one line and nothing else.
func TestStateDirectoryThatCannotBeWritten(t *testing.T) {
	cfg := config(dnstest.Start(t, zone...))
	blocked := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(blocked, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	cfg.StateDir = filepath.Join(blocked, "state")
	var logged lines
	store := openStore(t)
	s, _ := startLogged(t, cfg, store, slog.New(slog.NewTextHandler(&logged, nil)))
	testkit.Eventually(t, "several lookups", func() bool {
		pool, err := store.Pool(t.Context(), "")
		return s.Ready() == nil && err == nil && pool.Version > 3
	})
	if n := strings.Count(logged.String(), "edge pool not saved"); n != 1 {
		t.Errorf("told %d times: %s", n, logged.String())
	}
}

// Addresses need no copy.
func TestNoCopyOfAddresses(t *testing.T) {
	cfg := discovery.Default()
	cfg.Static, cfg.StateDir = []string{"192.0.2.1:7844", "[2001:db8::1]:7844"}, filepath.Join(t.TempDir(), "state")
	s, stop := start(t, cfg, openStore(t))
	testkit.Eventually(t, "ready", func() bool { return s.Ready() == nil })
	stop()
	if _, err := os.Stat(cfg.StateDir); err == nil {
		t.Error("a copy of addresses was written")
	}
}
