//go:build system

package system_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/testkit"
	"github.com/culvert-tunnel/culvert/services/edge/adminclient"
)

// peerVariable names the environment variable with the path of a cloudflared binary.
const peerVariable = "CULVERT_PEER_CLOUDFLARED"

// testEdge is our edge in its own process, with a tunnel and a catch-all route.
type testEdge struct {
	*program
	data, url, token string
	ports            []int
	admin            *adminclient.Client
}

// startEdge starts an edge with six addresses for connectors; env adds settings.
func startEdge(t *testing.T, env ...string) *testEdge {
	t.Helper()
	e := &testEdge{data: t.TempDir()}
	var listen []string
	for range 6 {
		e.ports = append(e.ports, freePort(t))
		listen = append(listen, fmt.Sprintf("127.0.0.1:%d", e.ports[len(e.ports)-1]))
	}
	public := freePort(t)
	e.url = fmt.Sprintf("http://127.0.0.1:%d", public)
	e.program = start(t, append([]string{
		"CULVERT_DATA_DIR=" + e.data, "CULVERT_CONNECTORS_LISTEN=" + strings.Join(listen, ","),
		fmt.Sprintf("CULVERT_PUBLIC_HTTP=127.0.0.1:%d", public), "CULVERT_OPS_LISTEN=127.0.0.1:0",
		"CULVERT_BOOTSTRAP_TUNNEL=peer", "CULVERT_BOOTSTRAP_ROUTES=*", "CULVERT_BOOTSTRAP_TOKEN_FILE=" + filepath.Join(e.data, "token"),
	}, env...), binary(t, "edge"))
	testkit.Retry(t, "edge", patience, func() error {
		b, err := os.ReadFile(filepath.Join(e.data, "token"))
		if err != nil {
			return err
		}
		e.token = strings.TrimSpace(string(b))
		_, err = os.Stat(filepath.Join(e.data, "admin.sock"))
		return err
	})
	admin, err := adminclient.Dial("unix:"+filepath.Join(e.data, "admin.sock"), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(admin.Close)
	e.admin = admin
	return e
}

func (e *testEdge) connections(t *testing.T) int {
	t.Helper()
	list, err := e.admin.ListConnections(t.Context())
	if err != nil {
		t.Fatalf("connections: %v", err)
	}
	n := 0
	for _, c := range list {
		if c.State == "active" {
			n++
		}
	}
	return n
}

// connectorCommand is the command line that ours and the stock connector both run with.
func (e *testEdge) connectorCommand(protocol, origin string) []string {
	args := []string{
		"tunnel",
		"--no-autoupdate",
		"--protocol",
		protocol,
		"--cacert",
		filepath.Join(e.data, "ca.pem"),
		"--grace-period",
		"10s",
		"--url",
		origin,
	}
	for _, p := range e.ports {
		args = append(args, "--edge", fmt.Sprintf("127.0.0.1:%d", p))
	}
	return append(args, "run")
}

func TestConnectorsOnTheSameCommandLine(t *testing.T) {
	for _, protocol := range []string{"quic", "http2"} {
		t.Run("culvert over "+protocol, func(t *testing.T) { runConnector(t, binary(t, "culvert"), protocol) })
		t.Run("cloudflared over "+protocol, func(t *testing.T) {
			peer := os.Getenv(peerVariable)
			if peer == "" {
				t.Skipf("%s is not set to the path of a cloudflared binary", peerVariable)
			}
			runConnector(t, peer, protocol)
		})
	}
}

func runConnector(t *testing.T, path, protocol string) {
	release := make(chan struct{})
	origin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			w.WriteHeader(http.StatusOK)
			_, _ = io.WriteString(w, "first ")
			w.(http.Flusher).Flush()
			select {
			case <-release:
				_, _ = io.WriteString(w, "last")
			case <-r.Context().Done():
			}
			return
		}
		if err := http.NewResponseController(w).EnableFullDuplex(); err != nil {
			t.Error(err)
		}
		_, _ = io.Copy(w, r.Body) // the echo of a visitor who left
	}))
	defer origin.Close()
	e := startEdge(t)
	c := start(t, []string{"TUNNEL_TOKEN=" + e.token}, path, e.connectorCommand(protocol, origin.URL)...)
	testkit.Retry(t, "4 connections", patience, func() error {
		if n := e.connections(t); n != 4 {
			return fmt.Errorf("%d connections", n)
		}
		return nil
	})
	if list, err := e.admin.ListConnections(t.Context()); err != nil || string(list[0].Protocol) != protocol {
		t.Errorf("connections %+v, %v; want them over %s", list, err, protocol)
	}
	for _, size := range []int64{0, 1, 1000, 16 << 10, 1<<20 + 7, 64 << 20} {
		resp, err := http.Post(e.url+"/echo", "application/octet-stream", pattern(size, 7))
		if err != nil {
			t.Fatalf("%d bytes: %v", size, err)
		}
		got, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		want, _ := io.ReadAll(pattern(size, 7))
		if err != nil || resp.StatusCode != http.StatusOK || string(got) != string(want) {
			t.Errorf("%d bytes: %s, %d bytes back, %v", size, resp.Status, len(got), err)
		}
	}

	resp, err := http.Get(e.url + "/slow")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if err := c.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	testkit.Retry(t, "all unregistered", patience, func() error {
		if n := e.connections(t); n != 0 {
			return fmt.Errorf("%d connections", n)
		}
		return nil
	})
	close(release)
	if b, err := io.ReadAll(resp.Body); err != nil || string(b) != "first last" {
		t.Errorf("the request that ran during the stop got %q, %v", b, err)
	}
	began := time.Now()
	if code := c.exitCode(t); code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
	t.Logf("ended %v after its last request", time.Since(began).Round(time.Millisecond))
}
