package flow_test

import (
	"crypto/sha256"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/culvert-tunnel/culvert/pkg/testkit"
)

// nginxBinary is the path of nginx. Without one the test is skipped; make test installs it where it may.
func nginxBinary(t *testing.T) string {
	t.Helper()
	binary, err := exec.LookPath("nginx")
	if err != nil {
		t.Skip("no nginx in PATH")
	}
	return binary
}

// nginx runs a real nginx that serves a directory over a Unix socket and accepts uploads, and gives the socket's path.
func nginx(t *testing.T, root string) string {
	t.Helper()
	binary := nginxBinary(t)
	dir, err := os.MkdirTemp("", "nginx") //nolint:usetesting // short: a socket's path is limited
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	socket := filepath.Join(dir, "o.sock")
	conf := fmt.Sprintf(`
daemon off; master_process off; pid %[1]s/pid; error_log %[1]s/error.log;
events {}
http {
  access_log off; client_max_body_size 0;
  client_body_temp_path %[1]s/body; proxy_temp_path %[1]s/proxy; fastcgi_temp_path %[1]s/f; uwsgi_temp_path %[1]s/u; scgi_temp_path %[1]s/s;
  server { listen unix:%[2]s; root %[3]s; gzip on; gzip_min_length 1; gzip_types *; }
}`, dir, socket, root)
	file := filepath.Join(dir, "nginx.conf")
	if err := os.WriteFile(file, []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(binary, "-p", dir, "-c", file)
	var out strings.Builder
	cmd.Stderr = &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	testkit.Eventually(t, "nginx listens "+out.String(), func() bool {
		c, err := net.Dial("unix", socket)
		if err == nil {
			_ = c.Close()
		}
		return err == nil
	})
	return socket
}

func TestNginx(t *testing.T) {
	root := t.TempDir()
	if err := os.Chmod(filepath.Dir(root), 0o755); err != nil { // nginx may run its worker as another user
		t.Fatal(err)
	}
	sums := map[string][sha256.Size]byte{}
	for i := range 300 {
		name := fmt.Sprintf("file %d+é.txt", i)
		body := []byte(strings.Repeat(strconv.Itoa(i)+"\n", i*i))
		if err := os.WriteFile(filepath.Join(root, name), body, 0o644); err != nil {
			t.Fatal(err)
		}
		sums[name] = sha256.Sum256(body)
	}
	h := serve(t, rules(t, "unix:"+nginx(t, root)), nil)
	for name, want := range sums {
		a := do(t, h, get("GET", "/"+strings.ReplaceAll(name, " ", "%20")), "")
		if a.status != "200" || a.end != nil || sha256.Sum256([]byte(a.body)) != want {
			t.Fatalf("%s: status %s, %d bytes, %v %s", name, a.status, len(a.body), a.end, a.err)
		}
	}
	name := "/file%2012+%C3%A9.txt"
	if a := do(t, h, get("GET", name, "Accept-Encoding: gzip"), ""); strings.Join(a.values("Content-Encoding"), "") != "gzip" {
		t.Errorf("gzip: %+v", a.pairs)
	}
	if a := do(t, h, get("GET", name, "Range: bytes=3-5"), ""); a.status != "206" || a.body != "12\n" {
		t.Errorf("range: %+v", a)
	}
	full := do(t, h, get("GET", name), "")
	etag := strings.Join(full.values("Etag"), "")
	if a := do(t, h, get("GET", name, "If-None-Match: "+etag), ""); a.status != "304" || a.body != "" {
		t.Errorf("not modified (%s): %+v", etag, a)
	}
	if a := do(t, h, get("GET", "/none"), ""); a.status != "404" {
		t.Errorf("none: %+v", a)
	}
}
