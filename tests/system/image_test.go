//go:build system

package system_test

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/culvert-tunnel/culvert/pkg/testkit"
	"github.com/culvert-tunnel/culvert/tests/harness"
)

// rootsInImage is where the images have the CA certificates of the machine that packed them.
const rootsInImage = "/etc/ssl/certs/ca-certificates.crt"

// TestImageReachesHTTPSOrigins runs the packed image of the whole system before an https origin. The image has nothing but the
// binary and what pack.sh adds, so that the origin's certificate is checked with the roots in the image: a public authority is
// played by one that is added to them.
func TestImageReachesHTTPSOrigins(t *testing.T) {
	packImages(t)
	const name = "culvert/culvert:local"
	roots := imageFile(t, name, rootsInImage)
	if n := bytes.Count(roots, []byte("BEGIN CERTIFICATE")); n < 50 {
		t.Fatalf("the image trusts %d authorities, want those of a Debian", n)
	}
	ca := testkit.NewCA(t)
	origin := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "from the origin") // the visitor notices an error
	}))
	origin.TLS = &tls.Config{Certificates: []tls.Certificate{ca.Issue(t, "127.0.0.1")}}
	origin.Config.ErrorLog = nil
	origin.StartTLS()
	defer origin.Close()

	trusting := filepath.Join(t.TempDir(), "roots.crt")
	if err := os.WriteFile(trusting, append(roots, ca.PEM()...), 0o644); err != nil { //nolint:gosec // the container's user reads it
		t.Fatal(err)
	}
	for what, c := range map[string]struct {
		mount []string
		want  int
	}{
		"its authority is known":   {[]string{"-v", trusting + ":" + rootsInImage + ":ro"}, http.StatusOK},
		"its authority is unknown": {nil, http.StatusBadGateway},
	} {
		t.Run(what, func(t *testing.T) {
			listen := fmt.Sprintf("127.0.0.1:%d", harness.FreePort(t))
			args := append([]string{"run", "-d", "--rm", "--network", "host", "--read-only", "--tmpfs", "/data:uid=65532,gid=65532"}, c.mount...)
			id := docker(t, append(args, name, "up", "--url", origin.URL, "--listen", listen, "--data-dir", "/data/edge")...)
			t.Cleanup(func() {
				if t.Failed() {
					t.Log(docker(t, "logs", id))
				}
				docker(t, "kill", id)
			})
			testkit.Retry(t, "the response", patience, func() error {
				res, err := http.Get("http://" + listen + "/")
				if err != nil {
					return err
				}
				defer res.Body.Close()
				body, err := io.ReadAll(res.Body)
				switch {
				case err != nil:
					return err
				case res.StatusCode != c.want:
					return fmt.Errorf("status %d, want %d: %s", res.StatusCode, c.want, body)
				case c.want == http.StatusOK && string(body) != "from the origin":
					return fmt.Errorf("body %q", body)
				case c.want != http.StatusOK && res.Header.Get("Culvert-Error") != "origin_unreachable":
					return fmt.Errorf("Culvert-Error %q", res.Header.Get("Culvert-Error"))
				default:
					return nil
				}
			})
		})
	}
}

// packImages makes the images from the binaries of `make build`.
func packImages(t *testing.T) {
	t.Helper()
	composeTool(t)
	harness.Installed(t, "redis-server")
	if out, err := exec.Command("../../deploy/compose/pack.sh").CombinedOutput(); err != nil {
		t.Fatalf("images: %v\n%s", err, out)
	}
}

// imageFile reads a file of an image that has no shell.
func imageFile(t *testing.T, image, path string) []byte {
	t.Helper()
	id := docker(t, "create", image)
	defer docker(t, "rm", id)
	to := filepath.Join(t.TempDir(), "file")
	docker(t, "cp", id+":"+path, to)
	b, err := os.ReadFile(to)
	if err != nil {
		t.Fatal(errors.Join(fmt.Errorf("copy %s from %s", path, image), err))
	}
	return b
}
