package flow_test

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/culvert-tunnel/culvert/pkg/tunnel"
	"github.com/culvert-tunnel/culvert/pkg/wire/stream"
	"github.com/culvert-tunnel/culvert/services/proxy/internal/flow"
	"github.com/culvert-tunnel/culvert/services/proxy/internal/management"
	"github.com/culvert-tunnel/culvert/services/proxy/internal/opener"
	"github.com/culvert-tunnel/culvert/services/proxy/internal/router"
)

// TestManagementHostNeverReachesAnOrigin sends requests for the management host to a table with a catch-all rule. Their
// access tokens must stay here, also after a new configuration was pushed.
func TestManagementHostNeverReachesAnOrigin(t *testing.T) {
	var reached atomic.Int32
	srv := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached.Add(1) }))
	defer srv.Close()
	log := slog.New(slog.DiscardHandler)
	set := rules(t, srv.URL)
	table, err := router.New(set, opener.New(log, nil), "management.test", "")
	if err != nil {
		t.Fatal(err)
	}
	defer table.Close()
	service := management.New(management.Default(), log, nil, nil)
	h := newHandler(flow.Config{Management: service.Serve}, table, log, nil)
	for _, when := range []string{"at start", "after a push"} {
		for _, tc := range []struct{ method, host, target, body string }{
			{"GET", "management.test", "/ping", "missing access_token query parameter"},
			{"GET", "Management.TEST:443", "/logs?access_token=secret", "missing access_token query parameter"},
			{"POST", "management.test.", "/host_details?access_token=", "missing access_token query parameter"},
			{"HEAD", "management.test", "/ping", ""},
		} {
			for _, typ := range []stream.Type{stream.HTTP, stream.WebSocket} {
				req := get(tc.method, tc.target)
				req.Type = typ
				for i := range req.Metadata {
					if req.Metadata[i].Key == stream.KeyHost {
						req.Metadata[i].Val = tc.host
					}
				}
				a := do(t, h, req, "")
				if a.status != "400" || a.end != nil || !strings.Contains(a.body, tc.body) || tc.body == "" && a.body != "" {
					t.Errorf("%s: %s %s%s as %v: %+v", when, tc.method, tc.host, tc.target, typ, a)
				}
			}
		}
		if err := table.Swap(tunnel.ID{}, set); err != nil {
			t.Fatal(err)
		}
	}
	if n := reached.Load(); n != 0 {
		t.Errorf("%d requests reached the origin", n)
	}
	if a := do(t, h, get("GET", "/"), ""); a.status != "200" || reached.Load() != 1 {
		t.Errorf("request for another host: %+v", a)
	}
}
