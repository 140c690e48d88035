package redisstore_test

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/filewatch"
	"github.com/culvert-tunnel/culvert/pkg/redisstore"
	"github.com/culvert-tunnel/culvert/pkg/redisstore/storetest"
	"github.com/culvert-tunnel/culvert/pkg/testkit"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

func TestMain(m *testing.M) { storetest.VerifyMain(m) }

func closing(t *testing.T, s *redisstore.Store, err error) *redisstore.Store {
	t.Helper()
	if err != nil {
		t.Fatalf("open store: %v", err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return s
}

func TestContractEmbedded(t *testing.T) {
	s, err := redisstore.OpenEmbedded(t.Context(), slog.New(slog.DiscardHandler))
	closing(t, s, err)
	storetest.Run(t, func(*testing.T) *redisstore.Store { return s })
}

func TestContractServer(t *testing.T) {
	url := serverURL(t)
	storetest.Run(t, func(t *testing.T) *redisstore.Store {
		t.Helper()
		s, err := redisstore.OpenURL(t.Context(), url)
		return closing(t, s, err)
	})
}

// serverURL is a real server: the one that REDIS_ADDR names (host:port or a URL), or one that is started for the test
// when redis-server or valkey-server is installed.
func serverURL(t *testing.T) string {
	t.Helper()
	if addr := os.Getenv("REDIS_ADDR"); addr != "" {
		if strings.Contains(addr, "://") {
			return addr
		}
		return "redis://" + addr
	}
	_, url := startServer(t)
	return url
}

// startServer starts a real server on a socket in a directory of its own.
func startServer(t testing.TB, args ...string) (dir, url string) {
	t.Helper()
	binary, err := exec.LookPath("redis-server")
	if err != nil {
		if binary, err = exec.LookPath("valkey-server"); err != nil {
			t.Skip("no REDIS_ADDR, and neither redis-server nor valkey-server is installed")
		}
	}
	dir, err = os.MkdirTemp("", "store") //nolint:usetesting // a socket's path must be short, t.TempDir's may not be
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	socket := filepath.Join(dir, "s")
	args = append([]string{"--port", "0", "--unixsocket", socket, "--save", "", "--appendonly", "no", "--dir", dir}, args...)
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	cmd := exec.CommandContext(ctx, binary, args...)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		_ = cmd.Wait() // killed on purpose
	})
	awaitSocket(t, socket)
	return dir, "unix://" + socket
}

func awaitSocket(t testing.TB, socket string) {
	t.Helper()
	testkit.Retry(t, "connect to the server", testkit.Patience, func() error {
		conn, err := (&net.Dialer{}).DialContext(t.Context(), "unix", socket)
		if err != nil {
			return err
		}
		return conn.Close()
	})
}

func TestPasswordFile(t *testing.T) {
	const password = "a very secret pass:/@word"
	dir, url := startServer(t, "--requirepass", password)
	file := filepath.Join(dir, "password")
	if err := os.WriteFile(file, []byte(password+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg := redisstore.Default()
	cfg.URL = url
	open, err := redisstore.Open(t.Context(), cfg)
	closing(t, open, err)
	if err := open.Ping(t.Context()); !errors.Is(err, tunnel.ErrUnavailable) {
		t.Errorf("Ping without the password: got %v, want unavailable", err)
	}
	cfg.PasswordFile = file
	s, err := redisstore.Open(t.Context(), cfg)
	closing(t, s, err)
	if err := s.Ping(t.Context()); err != nil {
		t.Errorf("Ping with the password: %v", err)
	}
}

func TestPasswordFileIsReadAgain(t *testing.T) {
	const password = "second"
	dir, url := startServer(t, "--requirepass", password)
	file := filepath.Join(dir, "password")
	cfg := redisstore.Default()
	cfg.URL, cfg.PasswordFile = url, file
	if err := os.WriteFile(file, []byte("first\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	files := filewatch.New(func(filewatch.Event) {})
	s, err := redisstore.OpenWatched(t.Context(), cfg, files)
	closing(t, s, err)
	if err := s.Ping(t.Context()); !errors.Is(err, tunnel.ErrUnavailable) {
		t.Errorf("Ping with the former password: got %v, want unavailable", err)
	}
	if err := os.WriteFile(file, []byte(password+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	files.Check()
	if err := s.Ping(t.Context()); err != nil {
		t.Errorf("Ping with the replaced password: %v", err)
	}
}

// A server that does not exist, and one that accepts and never responds: bounded, typed, and nothing secret in the text.
func TestUnavailable(t *testing.T) {
	silent, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	gone, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	goneAddr := gone.Addr().String()
	if err := gone.Close(); err != nil {
		t.Fatal(err)
	}
	for name, addr := range map[string]string{"silent": silent.Addr().String(), "gone": goneAddr} {
		t.Run(name, func(t *testing.T) {
			cfg := redisstore.Default()
			cfg.URL = "redis://user:hunter2@" + addr + "/3"
			cfg.Timeout = 100 * time.Millisecond
			s, err := redisstore.Open(t.Context(), cfg)
			closing(t, s, err)
			_, errRead := s.Pool(t.Context(), "default")
			_, errScript := s.Workers(t.Context())
			for _, err := range []error{s.Ping(t.Context()), errRead, errScript, s.Hint(t.Context(), "x")} {
				if !errors.Is(err, tunnel.ErrUnavailable) || !strings.Contains(err.Error(), addr) {
					t.Errorf("got %v, want unavailable with the address %s", err, addr)
				}
				if err != nil && strings.Contains(err.Error(), "hunter2") {
					t.Errorf("the error shows the password: %v", err)
				}
			}
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			if err := s.Ping(ctx); !errors.Is(err, context.Canceled) {
				t.Errorf("Ping with a cancelled context: got %v", err)
			}
		})
	}
}

// A watch outlives its server: it fires again when the server is back.
func TestWatchAfterOutage(t *testing.T) {
	dir, url := startServer(t)
	s, err := redisstore.OpenURL(t.Context(), url)
	closing(t, s, err)
	wake := s.Watch(t.Context(), "topic")
	await(t, wake)
	// The server forgets the subscriber's connection; the client must notice and subscribe again.
	kill := exec.CommandContext(t.Context(), "redis-cli", "-s", filepath.Join(dir, "s"), "CLIENT", "KILL", "TYPE", "PUBSUB")
	if out, err := kill.CombinedOutput(); err != nil {
		t.Skipf("redis-cli: %v %s", err, out)
	}
	await(t, wake)
}

func await(t *testing.T, wake <-chan struct{}) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	select {
	case <-wake:
	case <-ctx.Done():
		t.Fatal("no wake-up")
	}
}

func TestConfigValidate(t *testing.T) {
	for _, c := range []struct{ url, want string }{
		{"redis://localhost", ""},
		{"redis://u:p@localhost:6380/2", ""},
		{"rediss://[::1]:6380", ""},
		{"unix:///run/redis.sock?db=1", ""},
		{"", "url: empty"},
		{"http://localhost", `scheme "http"`},
		{"redis://:hunter2@", "no host"},
		{"unix:relative", "absolute path"},
		{"redis://localhost/hunter", "database number"},
		{"redis://:hunter2@local host:x", "not a URL"},
	} {
		cfg := redisstore.Default()
		cfg.URL = c.url
		err := cfg.Validate()
		if c.want == "" {
			if err != nil {
				t.Errorf("Validate(%q): %v", c.url, err)
			}
			continue
		}
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("Validate(%q): got %v, want %q and no password", c.url, err, c.want)
		}
	}
}
