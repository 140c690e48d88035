package harness

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/culvert-tunnel/culvert/pkg/testkit"
	"github.com/culvert-tunnel/culvert/services/edge/adminclient"
)

// Edge is our edge in its own process, with a tunnel and a catch-all route.
type Edge struct {
	*Program
	// Data is its data directory, URL its public address, Token the run token of its tunnel.
	Data, URL, Token string
	// Ports are those of its connector listeners, on 127.0.0.1.
	Ports []int
	Admin *adminclient.Client
}

// StartEdge starts an edge with six addresses for connectors; env adds settings.
func StartEdge(t *testing.T, env ...string) *Edge {
	t.Helper()
	e := &Edge{Data: t.TempDir()}
	var listen []string
	for range 6 {
		e.Ports = append(e.Ports, FreePort(t))
		listen = append(listen, fmt.Sprintf("127.0.0.1:%d", e.Ports[len(e.Ports)-1]))
	}
	public := FreePort(t)
	e.URL = fmt.Sprintf("http://127.0.0.1:%d", public)
	e.Program = Start(t, append([]string{
		"CULVERT_DATA_DIR=" + e.Data, "CULVERT_CONNECTORS_LISTEN=" + strings.Join(listen, ","),
		fmt.Sprintf("CULVERT_PUBLIC_HTTP=127.0.0.1:%d", public), "CULVERT_OPS_LISTEN=127.0.0.1:0",
		"CULVERT_BOOTSTRAP_TUNNEL=peer", "CULVERT_BOOTSTRAP_ROUTES=*", "CULVERT_BOOTSTRAP_TOKEN_FILE=" + filepath.Join(e.Data, "token"),
	}, env...), Binary(t, "edge"))
	testkit.Retry(t, "edge", patience, func() error {
		b, err := os.ReadFile(filepath.Join(e.Data, "token"))
		if err != nil {
			return err
		}
		e.Token = strings.TrimSpace(string(b))
		_, err = os.Stat(filepath.Join(e.Data, "admin.sock"))
		return err
	})
	admin, err := adminclient.Dial("unix:"+filepath.Join(e.Data, "admin.sock"), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(admin.Close)
	e.Admin = admin
	return e
}

// Connections counts the active connections of connectors.
func (e *Edge) Connections(t *testing.T) int {
	t.Helper()
	list, err := e.Admin.ListConnections(t.Context())
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

// ConnectorCommand is the command line that ours and the stock connector both run with.
func (e *Edge) ConnectorCommand(protocol, origin string) []string {
	args := []string{
		"tunnel",
		"--no-autoupdate",
		"--protocol",
		protocol,
		"--cacert",
		filepath.Join(e.Data, "ca.pem"),
		"--grace-period",
		"10s",
		"--url",
		origin,
	}
	for _, p := range e.Ports {
		args = append(args, "--edge", fmt.Sprintf("127.0.0.1:%d", p))
	}
	return append(args, "run")
}

// FreePort returns a port that is free for TCP and UDP.
func FreePort(t *testing.T) int {
	t.Helper()
	return int(testkit.FreeTCPAndUDP(t).Port())
}
