package command_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/culvert-tunnel/culvert/pkg/redisstore"
	"github.com/culvert-tunnel/culvert/pkg/redisstore/storetest"
	"github.com/culvert-tunnel/culvert/pkg/testkit"
)

// The access list that store-users writes lets a real server do all that the services need, and nothing that they do not.
func TestStoreUsersContract(t *testing.T) {
	binary, err := exec.LookPath("redis-server")
	if err != nil {
		if binary, err = exec.LookPath("valkey-server"); err != nil {
			t.Skip("neither redis-server nor valkey-server is installed")
		}
	}
	dir, err := os.MkdirTemp("", "store") //nolint:usetesting // a socket's path must be short, t.TempDir's may not be
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	passwordFile, aclFile, socket := filepath.Join(dir, "password"), filepath.Join(dir, "users.acl"), filepath.Join(dir, "s")
	if code, _, stderr := run(t, nil, "store-users", passwordFile, aclFile); code != 0 {
		t.Fatalf("store-users = %d: %s", code, stderr)
	}
	_, rules, _ := strings.Cut(readFile(t, aclFile), " on #")
	_, rules, _ = strings.Cut(rules, " ")
	if doc := readFile(t, "../../../docs/control-plane.md"); rules == "" || !strings.Contains(doc, rules) {
		t.Errorf("docs/control-plane.md does not show the access list %q", rules)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	server := exec.CommandContext(ctx, binary, "--port", "0", "--unixsocket", socket, "--save", "", "--dir", dir, "--aclfile", aclFile)
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		_ = server.Wait() // killed on purpose
	})
	cfg := redisstore.Default()
	cfg.URL, cfg.PasswordFile = "unix://culvert@"+socket, passwordFile
	open := func(t *testing.T) *redisstore.Store {
		t.Helper()
		s, err := redisstore.Open(t.Context(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = s.Close() }) // nothing is lost with it
		return s
	}
	s := open(t)
	testkit.Retry(t, "the server", testkit.Patience, func() error { return s.Ping(t.Context()) })
	if found, err := s.Advise(t.Context()); err != nil || len(found) > 0 {
		t.Errorf("Advise = %v, %v", found, err)
	}
	storetest.Run(t, open)
}
