package redisstore_test

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/redisstore"
	"github.com/culvert-tunnel/culvert/pkg/testkit"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

// A server whose settings endanger the store is told once, in one line for each.
func TestAdvice(t *testing.T) {
	for name, tc := range map[string]struct {
		args []string
		want []string
	}{
		"well":         {nil, nil},
		"evicts":       {[]string{"--maxmemory-policy", "allkeys-lru"}, []string{"maxmemory-policy noeviction (it is allkeys-lru)"}},
		"cluster node": {[]string{"--cluster-enabled", "yes"}, []string{"a node of a cluster"}},
	} {
		t.Run(name, func(t *testing.T) {
			_, url := startServer(t, tc.args...)
			s, err := redisstore.OpenURL(t.Context(), url)
			closing(t, s, err)
			found, err := s.Advise(t.Context())
			if err != nil || len(found) != len(tc.want) {
				t.Fatalf("Advise = %v, %v, want %q", found, err, tc.want)
			}
			for i, want := range tc.want {
				if !strings.Contains(found[i].Error(), want) {
					t.Errorf("Advise: %v, want %q", found[i], want)
				}
			}
		})
	}
}

// What the server refuses says what to do about it.
func TestRefusalsAreExplained(t *testing.T) {
	_, node := startServer(t, "--cluster-enabled", "yes")
	dir, _ := startServer(t)
	list := filepath.Join(dir, "users.acl")
	if err := os.WriteFile(list, []byte("user default off\nuser narrow on >pass ~cv:* &cv:* -@all +ping +hmget\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, listed := startServer(t, "--aclfile", list)
	withUser := func(url, user string) string { return strings.Replace(url, "unix://", "unix://"+user+"@", 1) }
	for name, tc := range map[string]struct{ url, want string }{
		"cluster node":   {node, "a node of a cluster"},
		"narrow list":    {withUser(listed, "narrow:pass"), "access list of the store's user is too narrow"},
		"wrong password": {withUser(listed, "narrow:other"), "refuses user or password"},
	} {
		s, err := redisstore.OpenURL(t.Context(), tc.url)
		closing(t, s, err)
		_, err = s.TakeLead(t.Context(), "role", "holder", time.Minute)
		if !errors.Is(err, tunnel.ErrUnavailable) || !strings.Contains(err.Error(), tc.want) || strings.Contains(err.Error(), "pass@") {
			t.Errorf("%s: TakeLead: %v, want %q", name, err, tc.want)
		}
	}
}

type logLines struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *logLines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logLines) count(text string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.b.String(), text)
}

func TestAdvisorTellsOnce(t *testing.T) {
	_, url := startServer(t, "--maxmemory-policy", "volatile-ttl")
	s, err := redisstore.OpenURL(t.Context(), url)
	closing(t, s, err)
	var lines logLines
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- redisstore.Advisor{Store: s, Logger: slog.New(slog.NewTextHandler(&lines, nil))}.Run(ctx)
	}()
	testkit.Eventually(t, "the line", func() bool { return lines.count("it is volatile-ttl") == 1 })
	cancel()
	if err := testkit.Receive(t, "the end", ended); err != nil {
		t.Error(err)
	}
}

// A real server that speaks TLS and wants a certificate of its clients.
func TestClientCertificate(t *testing.T) {
	server, clients := testkit.NewCA(t), testkit.NewCA(t)
	certFile, keyFile := server.IssueFiles(t, "127.0.0.1")
	port := freePort(t)
	startServer(t, "--tls-port", port, "--tls-cert-file", certFile, "--tls-key-file", keyFile, "--tls-ca-cert-file", clients.File(t),
		"--tls-auth-clients", "yes")
	cfg := redisstore.Default()
	cfg.URL, cfg.CAFile = "rediss://127.0.0.1:"+port, server.File(t)
	without, err := redisstore.Open(t.Context(), cfg)
	closing(t, without, err)
	if err := without.Ping(t.Context()); !errors.Is(err, tunnel.ErrUnavailable) {
		t.Errorf("Ping without a certificate: %v, want unavailable", err)
	}
	cfg.CertFile, cfg.KeyFile = clients.IssueFiles(t, "client")
	s, err := redisstore.Open(t.Context(), cfg)
	closing(t, s, err)
	if err := s.Ping(t.Context()); err != nil {
		t.Errorf("Ping with a certificate: %v", err)
	}
	if _, err := s.TakeLead(t.Context(), "role", "holder", time.Minute); err != nil {
		t.Errorf("TakeLead: %v", err)
	}
	for name, change := range map[string]func(*redisstore.Config){
		"cert_file and key_file":  func(c *redisstore.Config) { c.KeyFile = "" },
		"only a URL with rediss":  func(c *redisstore.Config) { c.URL = "redis://127.0.0.1:" + port },
		"no such file or directo": func(c *redisstore.Config) { c.CertFile = "/no/such/file" },
	} {
		bad := cfg
		change(&bad)
		if _, err := redisstore.Open(t.Context(), bad); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("Open: %v, want %q", err, name)
		}
	}
}

// freePort is a TCP port that was free a moment ago.
func freePort(t *testing.T) string {
	t.Helper()
	ln, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	_, port, err := net.SplitHostPort(ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return port
}
