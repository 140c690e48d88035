package flow_test

import (
	"log/slog"
	"testing"

	"github.com/culvert-tunnel/culvert/pkg/link"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
	"github.com/culvert-tunnel/culvert/services/proxy/internal/flow"
	"github.com/culvert-tunnel/culvert/services/proxy/internal/opener"
	"github.com/culvert-tunnel/culvert/services/proxy/internal/router"
)

// TestRequestsAreServedByTheRulesOfTheirTunnel replaces the rules of one tunnel after a flow was accepted, and before the head of its
// request is complete. Flows of the tunnel have the new rules, flows of another one the local rules.
func TestRequestsAreServedByTheRulesOfTheirTunnel(t *testing.T) {
	own, other := tunnel.ID{1}, tunnel.ID{2}
	for name, tc := range map[string]struct {
		from   tunnel.ID
		repeat bool
		status string
	}{
		"request of the other tunnel": {from: other, status: "410"},
		"request":                     {from: own, status: "204"},
		"repeated request":            {from: own, repeat: true, status: "204"},
	} {
		t.Run(name, func(t *testing.T) {
			log := slog.New(slog.DiscardHandler)
			table, err := router.New(rules(t, "http_status:204"), opener.New(log, nil))
			if err != nil {
				t.Fatal(err)
			}
			defer table.Close()
			req := get("GET", "/")
			head, err := req.Append(nil)
			if err != nil {
				t.Fatal(err)
			}
			c := startMeta(t, newHandler(flow.Config{}, table, log, nil), link.Meta{Tunnel: tc.from, Repeat: tc.repeat})
			if _, err := c.send.Write(head[:len(head)/2]); err != nil { // the flow has read it then
				t.Fatal(err)
			}
			if err := table.Swap(other, rules(t, "http_status:410")); err != nil {
				t.Fatal(err)
			}
			c.sendAll(string(head[len(head)/2:]))
			if a := c.finish(); a.status != tc.status || a.err != "" {
				t.Errorf("response %+v, want status %q", a, tc.status)
			}
		})
	}
}
