//go:build system

package system_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/culvert-tunnel/culvert/pkg/testkit"
	"github.com/culvert-tunnel/culvert/tests/harness"
)

// cloudflaredImage has the layout of the vendor's image.
const cloudflaredImage = "culvert/cloudflared:local"

// TestCloudflaredImage: manifests that were written for the vendor's image work with ours.
func TestCloudflaredImage(t *testing.T) {
	packImages(t)
	var config struct {
		User, WorkingDir string
		Env              []string
		Entrypoint, Cmd  []string
	}
	if err := json.Unmarshal([]byte(docker(t, "inspect", "--format", "{{json .Config}}", cloudflaredImage)), &config); err != nil {
		t.Fatal(err)
	}
	want := config
	want.User, want.WorkingDir = "65532:65532", "/home/nonroot"
	want.Entrypoint, want.Cmd = []string{"cloudflared", "--no-autoupdate"}, []string{"version"}
	if diff := cmp.Diff(want, config); diff != "" {
		t.Errorf("image (-want +got):\n%s", diff)
	}
	if env := strings.Join(config.Env, "\n"); !strings.Contains(env, "PATH=/usr/local/sbin:/usr/local/bin:") {
		t.Errorf("environment:\n%s", env)
	}
	if n := bytes.Count(imageFile(t, cloudflaredImage, rootsInImage), []byte("BEGIN CERTIFICATE")); n < 50 {
		t.Errorf("the image trusts %d authorities, want those of a Debian", n)
	}
	if out := docker(t, "run", "--rm", cloudflaredImage); !strings.HasPrefix(out, "cloudflared version ") {
		t.Errorf("without a command it says %q", out)
	}
	if out := docker(t, "run", "--rm", "--entrypoint", "culvert", cloudflaredImage, "version"); !strings.HasPrefix(out, "culvert version ") {
		t.Errorf("culvert version says %q", out)
	}
}

// TestCloudflaredImageRuns runs the image as manifests do: no flag but the token in a variable, a read-only root and no capabilities;
// and a configuration in the home directory of its user.
func TestCloudflaredImageRuns(t *testing.T) {
	packImages(t)
	e := harness.StartEdge(t)
	origin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "from the origin") // the visitor notices an error
	}))
	defer origin.Close()
	home := t.TempDir()
	roots, err := os.ReadFile(filepath.Join(e.Data, "ca.pem"))
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string]string{"config.yml": "ingress:\n- service: " + origin.URL + "\n", "roots.pem": string(roots)} {
		path := filepath.Join(home, name)
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil { //nolint:gosec // the container's user reads it
			t.Fatal(err)
		}
	}
	if err := os.Chmod(home, 0o755); err != nil { //nolint:gosec // likewise
		t.Fatal(err)
	}
	var edges []string
	for _, p := range e.Ports {
		edges = append(edges, fmt.Sprintf("127.0.0.1:%d", p))
	}
	id := docker(t, "run", "-d", "--network", "host", "--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges",
		"-v", home+":/home/nonroot/.cloudflared:ro", "-e", "TUNNEL_TOKEN="+e.Token, "-e", "TUNNEL_EDGE="+strings.Join(edges, ","),
		"-e", "TUNNEL_CACERT=/home/nonroot/.cloudflared/roots.pem", cloudflaredImage, "tunnel", "run")
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(docker(t, "logs", id))
		}
		docker(t, "rm", "-f", id)
	})
	testkit.Retry(t, "the response", patience, func() error {
		res, err := http.Get(e.URL)
		if err != nil {
			return err
		}
		defer res.Body.Close()
		body, err := io.ReadAll(res.Body)
		if err == nil && string(body) != "from the origin" {
			err = fmt.Errorf("status %d: %s", res.StatusCode, body)
		}
		return err
	})
	docker(t, "stop", "-t", "60", id)
	if code := strings.TrimSpace(docker(t, "inspect", "--format", "{{.State.ExitCode}}", id)); code != "0" {
		t.Errorf("exit code %s after docker stop", code)
	}
}
