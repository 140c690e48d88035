package command_test

import (
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/coder/websocket"

	"github.com/culvert-tunnel/culvert/pkg/credential"
	"github.com/culvert-tunnel/culvert/pkg/testkit"
)

// through opens a byte stream through a bastion to a destination that the visitor chooses.
func through(t *testing.T, e farEdge, host, destination string) (net.Conn, int) {
	t.Helper()
	conn, resp, err := websocket.Dial(t.Context(), e.PublicURL(), &websocket.DialOptions{
		Host: host, HTTPHeader: http.Header{"Cf-Access-Jump-Destination": {destination}}, HTTPClient: client(t),
	})
	if resp != nil && resp.Body != nil {
		defer resp.Body.Close()
	}
	switch {
	case err != nil && resp != nil:
		return nil, resp.StatusCode
	case err != nil:
		t.Fatalf("%s: %v", destination, err)
	}
	t.Cleanup(func() { _ = conn.CloseNow() })
	return websocket.NetConn(t.Context(), conn, websocket.MessageBinary), resp.StatusCode
}

// TestVisitorsChangeNothing: a visitor who may choose the destination, or meets a rule that leads to the private listener, does not change
// what the connector does; an operator on its host does, without any flag.
func TestVisitorsChangeNothing(t *testing.T) {
	e, metrics := startEdge(t), testkit.FreeTCP(t).String()
	cred, err := credential.ParseToken(e.token)
	if err != nil {
		t.Fatal(err)
	}
	dir, c := t.TempDir(), client(t)
	socketFile := filepath.Join(dir, "ops.sock") // a name for the socket, whose own name is known once it is there
	rules := filepath.Join(dir, "config.yml")
	text := "ingress:\n- {hostname: jump.example.com, service: bastion}\n" +
		"- {hostname: figures.example.com, service: \"http://" + metrics + "\", originRequest: {httpHostHeader: localhost}}\n" +
		"- {hostname: socket.example.com, service: \"unix:" + socketFile + "\"}\n- {service: \"http_status:404\"}\n"
	if err := os.WriteFile(rules, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	start(t, []string{"TUNNEL_TOKEN=" + e.token, "TUNNEL_METRICS=" + metrics},
		append(e.flags(), "--config", rules, "--ha-connections", "1", "run")...)
	o := operated{
		t: t, env: []string{"CULVERT_SUPERVISOR=http://" + metrics, "USER=ann", "HOME=" + dir}, tunnel: cred.TunnelID.String(),
		metrics: metrics, client: c,
	}
	o.connections(1)
	var info struct {
		Socket string `json:"changes_socket"`
	}
	_, listener := fetch(t, c, "http://"+metrics+"/v1/listener", "")
	if err := json.Unmarshal([]byte(listener), &info); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(info.Socket, socketFile); err != nil {
		t.Fatalf("socket %q: %v", info.Socket, err)
	}
	if s, err := os.Stat(info.Socket); err != nil || s.Mode().Perm() != 0o600 {
		t.Errorf("socket: %v, %v", s, err)
	}

	_, port, err := net.SplitHostPort(metrics)
	if err != nil {
		t.Fatal(err)
	}
	for _, host := range []string{"127.0.0.1", "0.0.0.0", "localhost", "::ffff:127.0.0.1", "::ffff:7f00:1", "::", ""} {
		_, status := through(t, e, "jump.example.com", net.JoinHostPort(host, port))
		if status != http.StatusForbidden && status != http.StatusBadGateway {
			t.Errorf("bastion to %q: status %d", host, status)
		}
	}
	own, err := net.Listen("tcp", "127.0.0.1:0") // the bastion works as such
	if err != nil {
		t.Fatal(err)
	}
	defer own.Close()
	go func() {
		if peer, err := own.Accept(); err == nil {
			_, _ = io.WriteString(peer, "welcome")
			_ = peer.Close()
		}
	}()
	conn, status := through(t, e, "jump.example.com", own.Addr().String())
	if conn == nil {
		t.Fatalf("bastion to a service: status %d", status)
	}
	if b, err := io.ReadAll(conn); string(b) != "welcome" {
		t.Errorf("bastion to a service: %q, %v", b, err)
	}

	body := `{"version":0,"author":"mallory","spec":{"paused":true}}`
	for url, host := range map[string]string{
		"http://" + metrics: "", e.PublicURL() + "/#1": "figures.example.com", e.PublicURL(): "socket.example.com",
	} {
		base, _, _ := strings.Cut(url, "/#")
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPut, base+"/v1/desired/"+o.tunnel, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Host = host
		req.Header.Set("Content-Type", "application/json")
		resp, err := c.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusForbidden {
			t.Errorf("change through %s (%s): status %d", base, host, resp.StatusCode)
		}
	}
	if status, _ := fetch(t, c, e.PublicURL()+"/metrics", "figures.example.com"); status != http.StatusOK {
		t.Errorf("a rule that shows the metrics: status %d", status)
	}
	if out := o.must("desired", "show", o.tunnel); strings.Contains(out, "paused") {
		t.Errorf("a visitor changed something: %s", out)
	}
	o.must("desired", "set", o.tunnel, "--paused")
	o.connections(0)
}
