package command_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/culvert-tunnel/culvert/pkg/credential"
	"github.com/culvert-tunnel/culvert/pkg/testkit"
)

func TestOperatorCommands(t *testing.T) {
	e, home := startEdge(t), t.TempDir()
	env := []string{"CULVERT_EDGE_ADMIN=unix:" + e.AdminSocket(), "HOME=" + home}
	must := func(args ...string) string {
		t.Helper()
		code, stdout, stderr := run(t, env, args...)
		if code != 0 {
			t.Fatalf("culvert %s: exit %d, %s", strings.Join(args, " "), code, stderr)
		}
		return stdout
	}
	refused := func(want string, args ...string) {
		t.Helper()
		code, _, stderr := run(t, env, args...)
		if code != 1 || !strings.Contains(stderr, want) || strings.Count(stderr, "\n") != 1 {
			t.Errorf("culvert %s: exit %d, %q, want one line with %q", strings.Join(args, " "), code, stderr, want)
		}
	}

	out := must("tunnel", "create", "shop")
	id := strings.TrimSpace(out[strings.LastIndex(out, " "):])
	path := filepath.Join(home, ".culvert", id+".json")
	content, err := os.ReadFile(path)
	if err != nil || !strings.Contains(out, path) {
		t.Fatalf("create says %q, and %v", out, err)
	}
	if st, err := os.Stat(path); err != nil || st.Mode().Perm() != 0o400 {
		t.Errorf("credentials file: %v %v", st, err)
	}
	c, err := credential.ParseFile(content)
	if err != nil || c.TunnelID.String() != id {
		t.Errorf("credentials file holds %v, %v", c, err)
	}
	refused("taken", "tunnel", "create", "shop")

	own := filepath.Join(home, "own", "web.json")
	must("tunnel", "create", "--credentials-file", own, "blog")
	refused("web.json", "tunnel", "create", "--credentials-file", own, "third") // the file exists: nothing is left behind
	var list []struct{ ID, Name string }
	if err := json.Unmarshal([]byte(must("tunnel", "list", "--output", "json")), &list); err != nil || len(list) != 3 {
		t.Errorf("list = %v %v", list, err)
	}
	if text := must("tunnel", "list"); !strings.Contains(text, id) || !strings.Contains(text, "blog") {
		t.Errorf("list = %s", text)
	}

	before := must("tunnel", "token", "shop")
	if rotated := must("tunnel", "rotate", "shop", "--grace", "1m"); rotated == before || rotated != must("tunnel", "token", "shop") {
		t.Errorf("rotate printed %q, the token before was %q", rotated, before)
	}
	refused("not found", "tunnel", "rotate", "none")
	refused("not found", "tunnel", "evict", "00")
	if text := must("tunnel", "connections"); !strings.HasPrefix(text, "ID ") {
		t.Errorf("connections = %s", text)
	}

	token := strings.TrimSpace(must("tunnel", "token", "shop"))
	if got, err := credential.ParseToken(token); err != nil || got.TunnelID != c.TunnelID {
		t.Errorf("token = %v %v", got, err)
	}
	if again := strings.TrimSpace(must("tunnel", "token", id)); again != token {
		t.Error("the token by id is another one than by name")
	}
	refused("not found", "tunnel", "token", "nowhere")

	must("tunnel", "route", "add", "shop.example.com", "shop")
	must("tunnel", "route", "add", "*.example.org", id)
	if text := must("tunnel", "route", "list"); !strings.Contains(text, "shop.example.com") || !strings.Contains(text, "*.example.org") {
		t.Errorf("routes = %s", text)
	}
	refused("shop.example.com", "tunnel", "route", "add", "shop.example.com", "blog")
	must("tunnel", "route", "delete", "shop.example.com")
	refused("not found", "tunnel", "route", "delete", "shop.example.com")
	must("tunnel", "delete", "blog", "-f")
	refused("not found", "tunnel", "delete", "blog")
	refused("none of text, json", "tunnel", "list", "--output", "xml")
}

func TestPortRoutes(t *testing.T) {
	e := startEdge(t)
	env := []string{"CULVERT_EDGE_ADMIN=unix:" + e.AdminSocket(), "HOME=" + t.TempDir()}
	must := func(args ...string) string {
		t.Helper()
		code, stdout, stderr := run(t, env, args...)
		if code != 0 {
			t.Fatalf("culvert %s: exit %d, %s", strings.Join(args, " "), code, stderr)
		}
		return stdout
	}
	refused := func(want string, args ...string) {
		t.Helper()
		code, _, stderr := run(t, env, args...)
		if code != 1 || !strings.Contains(stderr, want) {
			t.Errorf("culvert %s: exit %d, %q, want %q", strings.Join(args, " "), code, stderr, want)
		}
	}
	must("tunnel", "create", "app")
	out := must("route", "add", "tcp://127.0.0.1:0", "app", "--to", "10.0.0.5:22", "--proxy-protocol=v2", "--idle", "1h")
	name, _, _ := strings.Cut(out, " ")
	if !strings.HasPrefix(name, "tcp://127.0.0.1:") || !strings.Contains(out, "it listens on 127.0.0.1:") {
		t.Fatalf("add says %q", out)
	}
	must("tunnel", "route", "add", "--host", "ssh.example.com", "tcp://127.0.0.1:0", "app") // flags may come first, too
	refused("in use", "route", "add", strings.Replace(name, "127.0.0.1", "", 1), "app", "--to", "10.0.0.6:22")
	refused("exists with another target", "route", "add", name, "app", "--to", "10.0.0.6:22")
	must("route", "add", name, "app", "--to", "10.0.0.5:22", "--proxy-protocol=v2", "--idle", "1h") // the same again
	refused("no target", "route", "add", "tcp://:0", "app")
	refused("exclude each other", "route", "add", "tcp://:0", "app", "--to", "10.0.0.5:22", "--host", "x")
	refused("not IP:PORT", "route", "add", "tcp://:0", "app", "--to", "localhost:22")
	refused("neither v1 nor v2", "route", "add", "tcp://:0", "app", "--to", "10.0.0.5:22", "--proxy-protocol", "3")
	refused("for ports", "route", "add", "a.example.com", "app", "--to", "10.0.0.5:22")
	refused("neither tcp://", "route", "add", "sctp://:1", "app", "--to", "10.0.0.5:22")
	refused("not found", "route", "add", "tcp://:0", "nowhere", "--to", "10.0.0.5:22")
	refused("unknown flag --colour", "route", "list", "--colour")
	refused("unknown flag --colour", "route", "delete", name, "--colour")
	refused("needs 2 argument(s)", "route", "add", "tcp://:0", "--to", "10.0.0.5:22")

	text := must("route", "list")
	for _, want := range []string{name, "10.0.0.5:22 (PROXY protocol v2)", "host ssh.example.com", "open"} {
		if !strings.Contains(text, want) {
			t.Errorf("the list does not say %q:\n%s", want, text)
		}
	}
	must("route", "delete", name)
	refused("not found", "route", "delete", name)
	must("route", "add", name, "app", "--to", "10.0.0.6:22") // the port is free at once
}

// TestRunByName is what a person does first: create a tunnel, route a host to it, run it by its name.
func TestRunByName(t *testing.T) {
	e, home := startEdge(t), t.TempDir()
	env := []string{"CULVERT_EDGE_ADMIN=unix:" + e.AdminSocket(), "HOME=" + home}
	for _, args := range [][]string{{"tunnel", "create", "shop"}, {"tunnel", "route", "add", "shop.example.com", "shop"}} {
		if code, _, stderr := run(t, env, args...); code != 0 {
			t.Fatal(stderr)
		}
	}
	p := start(t, env, append(e.flags(), "--metrics", "127.0.0.1:0", "run", "--hello-world", "shop")...)
	c := client(t)
	testkit.Eventually(t, "a response", func() bool {
		status, _ := fetch(t, c, e.PublicURL(), "shop.example.com")
		return status == 200
	})
	if code, _, stderr := run(t, env, "tunnel", "delete", "shop"); code != 1 || !strings.Contains(stderr, "--force") {
		t.Errorf("delete of a tunnel with connections = %d %s", code, stderr)
	}
	if code := p.stop(t); code != 0 {
		t.Errorf("exit %d", code)
	}
}
