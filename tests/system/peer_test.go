//go:build system

package system_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/testkit"
	"github.com/culvert-tunnel/culvert/tests/harness"
)

func TestConnectorsOnTheSameCommandLine(t *testing.T) {
	for _, protocol := range []string{"quic", "http2"} {
		t.Run("culvert over "+protocol, func(t *testing.T) { runConnector(t, harness.Binary(t, "culvert"), protocol) })
		t.Run("cloudflared over "+protocol, func(t *testing.T) {
			peer := os.Getenv(harness.PeerVariable)
			if peer == "" {
				t.Skipf("%s is not set to the path of a cloudflared binary", harness.PeerVariable)
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
	e := harness.StartEdge(t)
	c := harness.Start(t, []string{"TUNNEL_TOKEN=" + e.Token}, path, e.ConnectorCommand(protocol, origin.URL)...)
	testkit.Retry(t, "4 connections", patience, func() error {
		if n := e.Connections(t); n != 4 {
			return fmt.Errorf("%d connections", n)
		}
		return nil
	})
	if list, err := e.Admin.ListConnections(t.Context()); err != nil || string(list[0].Protocol) != protocol {
		t.Errorf("connections %+v, %v; want them over %s", list, err, protocol)
	}
	for _, size := range []int64{0, 1, 1000, 16 << 10, 1<<20 + 7, 64 << 20} {
		resp, err := http.Post(e.URL+"/echo", "application/octet-stream", pattern(size, 7))
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

	resp, err := http.Get(e.URL + "/slow")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if err := c.Cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	testkit.Retry(t, "all unregistered", patience, func() error {
		if n := e.Connections(t); n != 0 {
			return fmt.Errorf("%d connections", n)
		}
		return nil
	})
	close(release)
	if b, err := io.ReadAll(resp.Body); err != nil || string(b) != "first last" {
		t.Errorf("the request that ran during the stop got %q, %v", b, err)
	}
	began := time.Now()
	if code := c.ExitCode(t); code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
	t.Logf("ended %v after its last request", time.Since(began).Round(time.Millisecond))
}
