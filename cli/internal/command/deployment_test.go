package command_test

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/culvert-tunnel/culvert/pkg/opsclient"
	"github.com/culvert-tunnel/culvert/pkg/testkit"
)

// TestDeploymentOnTheCommandLine: a connector of one process is shown, its events are listed, and tokens decide who may change it.
func TestDeploymentOnTheCommandLine(t *testing.T) {
	o := startOperated(t)
	out := o.must("status")
	if !strings.HasPrefix(out, "UP  2 of 2 connections, 1 of 1 tunnels up") || !strings.Contains(out, o.tunnel) ||
		strings.Contains(out, "\x1b") {
		t.Errorf("status:\n%s", out)
	}
	var status struct {
		opsclient.Status
		List []opsclient.TunnelState `json:"tunnel_list"`
	}
	err := json.Unmarshal([]byte(o.must("status", "--output", "json")), &status)
	if err != nil || status.Connected != 2 || len(status.List) != 1 {
		t.Errorf("status as JSON: %+v, %v", status, err)
	}
	for command, want := range map[string]string{
		"tunnels": o.tunnel, "connections": "connected", "workers": "serves", "events": "slot.granted", "proxies": "PROXY",
	} {
		if out := o.must(command); !strings.Contains(out, want) {
			t.Errorf("%s:\n%s", command, out)
		}
	}
	named := o
	named.env = slices.DeleteFunc(slices.Clone(o.env), func(s string) bool { return strings.HasPrefix(s, "CULVERT_SUPERVISOR=") })
	named.must("context", "add", "here", "--supervisor", "http://"+o.metrics)
	named.must("context", "add", "there", "--supervisor", "http://127.0.0.1:1")
	if out := named.must("context", "list"); !strings.Contains(out, "*        here") {
		t.Errorf("contexts:\n%s", out)
	}
	if out := named.must("tunnels"); !strings.Contains(out, o.tunnel) {
		t.Errorf("tunnels of the current context:\n%s", out)
	}
	named.refused("supervisor at http://127.0.0.1:1", "tunnels", "--context", "there")
	named.refused(`context "nowhere" is not in`, "tunnels", "--context", "nowhere")
	named.must("context", "use", "there")
	named.refused("supervisor at http://127.0.0.1:1", "tunnels")
	named.must("context", "remove", "there")
	named.refused(`context "there" is not in`, "context", "use", "there")
	token := strings.TrimSpace(o.must("token", "create", "reader", "--expires", "1h"))
	if out := o.must("token", "list"); !strings.Contains(out, "reader") || strings.Contains(out, token) {
		t.Errorf("token list:\n%s", out)
	}
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte(token), 0o600); err != nil {
		t.Fatal(err)
	}
	reader := o
	reader.env = append(slices.Clone(o.env), "CULVERT_SUPERVISOR_TOKEN_FILE="+file)
	reader.must("status")
	reader.refused("has the scope read, and this needs operate", "desired", "set", o.tunnel, "--connections", "1")
	id, _, _ := strings.Cut(strings.TrimPrefix(token, "cvt_"), "_")
	o.must("token", "revoke", id)
	testkit.Eventually(t, "the token counts no more", func() bool {
		code, _, stderr := run(t, reader.env, "status")
		return code == 1 && strings.Contains(stderr, "bearer token missing or wrong")
	})
	o.must("desired", "set", o.tunnel, "--paused")
	o.connections(0)
	testkit.Eventually(t, "the pause is told", func() bool { return strings.Contains(o.must("events"), "desired.changed") })
	if out := o.must("status"); !strings.HasPrefix(out, "UP") || !strings.Contains(out, "paused") {
		t.Errorf("status of a paused tunnel:\n%s", out)
	}
	resp, err := o.client.Get("http://" + o.metrics + "/v1/openapi.json")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Errorf("document: %s", resp.Status)
	}
}
