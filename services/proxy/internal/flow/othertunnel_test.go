package flow_test

import (
	"log/slog"
	"strings"
	"testing"

	"github.com/culvert-tunnel/culvert/pkg/link"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
	"github.com/culvert-tunnel/culvert/pkg/wire/stream"
	"github.com/culvert-tunnel/culvert/services/proxy/internal/flow"
	"github.com/culvert-tunnel/culvert/services/proxy/internal/opener"
	"github.com/culvert-tunnel/culvert/services/proxy/internal/router"
)

// TestRulesOfAnotherTunnelServeNoRequest replaces local rules by those of another tunnel after a flow was accepted, and before the head
// of its request is complete.
func TestRulesOfAnotherTunnelServeNoRequest(t *testing.T) {
	own, other := tunnel.ID{1}, tunnel.ID{2}
	web := get("GET", "/")
	upgrade := web
	upgrade.Type = stream.WebSocket
	for name, tc := range map[string]struct {
		from   tunnel.ID
		repeat bool
		req    stream.Request
		status string // of the response; empty is an abort or, for a private network, a response without one
		err    string
	}{
		"request of the other tunnel":   {from: other, req: web, status: "410"},
		"request":                       {from: own, req: web, status: "503", err: "another tunnel"},
		"repeated request":              {from: own, repeat: true, req: web},
		"websocket":                     {from: own, req: upgrade, status: "503", err: "another tunnel"},
		"stream into a private network": {from: own, req: stream.Request{Dest: "127.0.0.1:1", Type: stream.TCP}, err: "another tunnel"},
	} {
		t.Run(name, func(t *testing.T) {
			log := slog.New(slog.DiscardHandler)
			table, err := router.New(rules(t, "http_status:204"), opener.New(log, nil))
			if err != nil {
				t.Fatal(err)
			}
			defer table.Close()
			head, err := tc.req.Append(nil)
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
			a := c.finish()
			if a.status != tc.status || (a.err == "") != (tc.err == "") || !strings.Contains(a.err, tc.err) {
				t.Errorf("response %+v, want status %q, error %q", a, tc.status, tc.err)
			}
		})
	}
}
