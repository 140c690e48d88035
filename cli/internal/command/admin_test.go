package command_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/culvert-tunnel/culvert/pkg/credential"
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
	must("tunnel", "delete", "blog")
	refused("not found", "tunnel", "delete", "blog")
	refused("none of text, json", "tunnel", "list", "--output", "xml")
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
	eventually(t, "an answer", func() bool {
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
