//go:build dropin

package dropin_test

import (
	"encoding/json"
	"net/http"
	"syscall"
	"testing"

	"github.com/culvert-tunnel/culvert/pkg/tunnel"
	"github.com/culvert-tunnel/culvert/tests/harness"
)

// TestReady: probes of Kubernetes and Docker read /ready, and scripts its body.
func TestReady(t *testing.T) {
	e := harness.StartEdge(t)
	each(t, func(t *testing.T, s subject) {
		c := s.connect(t, e, "--grace-period", "2s")
		status, text := c.get(t, "/ready")
		var body struct {
			Status           int       `json:"status"`
			ReadyConnections int       `json:"readyConnections"`
			ConnectorID      tunnel.ID `json:"connectorId"`
		}
		if err := json.Unmarshal([]byte(text), &body); err != nil {
			t.Fatalf("%v: %s", err, text)
		}
		if status != http.StatusOK || body.Status != http.StatusOK || body.ReadyConnections != connections || body.ConnectorID == (tunnel.ID{}) {
			t.Errorf("/ready: %d %s", status, text)
		}
		if code := c.Stop(t, syscall.SIGTERM); code != 0 {
			t.Errorf("exit code %d after SIGTERM", code)
		}
	})
}
