//go:build system

package system_test

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/cgi"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/culvert-tunnel/culvert/pkg/testkit"
	"github.com/culvert-tunnel/culvert/tests/harness"
)

// nginx serves a directory on a free port.
func nginx(t *testing.T, root string) string {
	t.Helper()
	bin := harness.Installed(t, "nginx")
	dir, port := t.TempDir(), harness.FreePort(t)
	conf := fmt.Sprintf(`
daemon off; worker_processes 1; pid %[1]s/pid; error_log stderr warn; user root;
events { worker_connections 1024; }
http {
  access_log off; sendfile on; default_type application/octet-stream; client_max_body_size 0;
  client_body_temp_path %[1]s; proxy_temp_path %[1]s; fastcgi_temp_path %[1]s; uwsgi_temp_path %[1]s; scgi_temp_path %[1]s;
  server { listen 127.0.0.1:%[2]d; root %[3]s; autoindex on; }
}`, dir, port, root)
	path := filepath.Join(dir, "nginx.conf")
	if err := os.WriteFile(path, []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	harness.Start(t, nil, bin, "-c", path, "-p", dir)
	url := fmt.Sprintf("http://127.0.0.1:%d", port)
	testkit.Retry(t, "nginx", patience, func() error {
		resp, err := http.Get(url + "/")
		if err != nil {
			return err
		}
		return resp.Body.Close()
	})
	return url
}

// up starts everything in one process in front of an origin and returns the public URL.
func up(t *testing.T, args ...string) (*harness.Program, string) {
	t.Helper()
	p := harness.Start(t, nil, harness.Binary(t, "culvert"), append([]string{"up", "--listen", "127.0.0.1:0", "--data-dir", t.TempDir()}, args...)...)
	return p, strings.TrimSuffix(p.Line(t, "Public URL:"), "/")
}

// writeRandom writes a file of pseudo-random bytes and returns its checksum.
func writeRandom(t *testing.T, path string, size int64, seed byte) string {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	h := sha256.New()
	if _, err := io.CopyN(io.MultiWriter(f, h), rand.NewChaCha8([32]byte{seed}), size); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	return hex.EncodeToString(h.Sum(nil))
}

func checksum(url string) (string, error) {
	resp, err := http.Get(url)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	h := sha256.New()
	if _, err := io.Copy(h, resp.Body); err != nil {
		return "", err
	}
	if resp.StatusCode != http.StatusOK {
		return "", fmt.Errorf("%s: %s", url, resp.Status)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

func TestNginxFilesArriveUnchanged(t *testing.T) {
	root := t.TempDir()
	if err := os.Chmod(root, 0o755); err != nil {
		t.Fatal(err)
	}
	const files, gib = 3000, 1 << 30
	want := map[string]string{}
	for i := range files {
		dir := fmt.Sprintf("d%02d", i%50)
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
		name := fmt.Sprintf("%s/file %d.bin", dir, i)
		want[strings.ReplaceAll(name, " ", "%20")] = writeRandom(t, filepath.Join(root, name), int64(i*37%20000), byte(i))
	}
	want["big.bin"] = writeRandom(t, filepath.Join(root, "big.bin"), gib, 255)

	_, url := up(t, "--url", nginx(t, root))
	work := make(chan string)
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			for name := range work {
				if got, err := checksum(url + "/" + name); err != nil || got != want[name] {
					t.Errorf("%s: checksum %s, %v, want %s", name, got, err, want[name])
				}
			}
		})
	}
	work <- "big.bin"
	for name := range want {
		if name != "big.bin" {
			work <- name
		}
	}
	close(work)
	wg.Wait()
	t.Logf("%d files and one of 1 GiB: all checksums equal", files)
}

func TestGitCloneOverSmartHTTP(t *testing.T) {
	git := harness.Installed(t, "git")
	execPath, err := exec.Command(git, "--exec-path").Output()
	if err != nil {
		t.Fatal(err)
	}
	top, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	repos := t.TempDir()
	if out, err := exec.Command(git, "clone", "--bare", "-q", top, filepath.Join(repos, "culvert.git")).CombinedOutput(); err != nil {
		t.Fatalf("bare clone: %v\n%s", err, out)
	}
	origin := httptest.NewServer(&cgi.Handler{
		Path: filepath.Join(strings.TrimSpace(string(execPath)), "git-http-backend"),
		Env: []string{
			"GIT_PROJECT_ROOT=" + repos,
			"GIT_HTTP_EXPORT_ALL=1",
			"REMOTE_USER=pusher",
			"GIT_CONFIG_COUNT=1",
			"GIT_CONFIG_KEY_0=safe.directory",
			"GIT_CONFIG_VALUE_0=*",
		},
	})
	defer origin.Close()
	_, url := up(t, "--url", origin.URL)

	clone := filepath.Join(t.TempDir(), "clone")
	if out, err := exec.Command(git, "clone", "-q", url+"/culvert.git", clone).CombinedOutput(); err != nil {
		t.Fatalf("clone through the tunnel: %v\n%s", err, out)
	}
	if out, err := exec.Command(git, "-C", clone, "fsck", "--full").CombinedOutput(); err != nil {
		t.Errorf("fsck: %v\n%s", err, out)
	}
	head := func(dir string) string {
		out, err := exec.Command(git, "-c", "safe.directory=*", "-C", dir, "rev-parse", "HEAD").Output()
		if err != nil {
			t.Fatalf("rev-parse in %s: %v", dir, err)
		}
		return string(out)
	}
	if got, want := head(clone), head(filepath.Join(repos, "culvert.git")); got != want {
		t.Errorf("clone has head %s, want %s", got, want)
	}
	commit := exec.Command(
		git,
		"-C",
		clone,
		"-c",
		"user.name=t",
		"-c",
		"user.email=t@example.com",
		"commit",
		"-q",
		"--allow-empty",
		"-m",
		"through the tunnel",
	)
	if out, err := commit.CombinedOutput(); err != nil {
		t.Fatalf("commit: %v\n%s", err, out)
	}
	if out, err := exec.Command(git, "-C", clone, "push", "-q", "origin", "HEAD:refs/heads/pushed").CombinedOutput(); err != nil {
		t.Errorf("push through the tunnel: %v\n%s", err, out)
	}
}

func TestDemoPageInABrowser(t *testing.T) {
	chromium := harness.Installed(t, "chromium")
	p, url := up(t)
	out, err := exec.Command(chromium, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
		"--user-data-dir="+t.TempDir(), "--virtual-time-budget=5000", "--dump-dom", url+"/").Output()
	if err != nil {
		t.Fatalf("chromium: %v", err)
	}
	if !strings.Contains(string(out), "Culvert") {
		t.Errorf("the page in the browser does not say Culvert:\n%s", harness.Tail(string(out), 2000))
	}
	if code := p.Stop(t, os.Interrupt); code != 0 {
		t.Errorf("exit code %d after Ctrl-C, want 0", code)
	}
}
