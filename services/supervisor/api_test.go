package supervisor

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/labstack/echo/v4"

	"github.com/culvert-tunnel/culvert/pkg/fleet"
	"github.com/culvert-tunnel/culvert/pkg/lease"
	"github.com/culvert-tunnel/culvert/pkg/ops"
	"github.com/culvert-tunnel/culvert/pkg/opsapi"
	"github.com/culvert-tunnel/culvert/pkg/redisstore"
	"github.com/culvert-tunnel/culvert/pkg/testkit"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

// TestDocumentMatchesRoutes walks the routes and the document both ways.
func TestDocumentMatchesRoutes(t *testing.T) {
	a := connectedLab(t)
	rec := a.do("GET", "/openapi.json", "", nil)
	var doc struct {
		Paths map[string]map[string]json.RawMessage
	}
	if err := json.Unmarshal(rec.Body.Bytes(), &doc); err != nil || rec.Code != http.StatusOK {
		t.Fatalf("document: %d, %v", rec.Code, err)
	}
	var documented, served []string
	for path, item := range doc.Paths {
		for method := range item {
			documented = append(documented, strings.ToUpper(method)+" "+path)
		}
	}
	for _, r := range a.echo.Routes() {
		parts := strings.Split(r.Path, "/")
		for i, p := range parts {
			if name, found := strings.CutPrefix(p, ":"); found {
				parts[i] = "{" + name + "}"
			}
		}
		served = append(served, r.Method+" "+strings.Join(parts, "/"))
	}
	slices.Sort(documented)
	slices.Sort(served)
	for _, d := range documented {
		if !slices.Contains(served, d) {
			t.Errorf("%s is documented and not served", d)
		}
	}
	for _, s := range served {
		if !slices.Contains(documented, s) {
			t.Errorf("%s is served and not documented", s)
		}
	}
}

// do makes a request with headers.
func (a caller) do(method, path, body string, header map[string]string) *httptest.ResponseRecorder {
	a.t.Helper()
	rec := httptest.NewRecorder()
	req := httptest.NewRequest(method, "/v1"+path, strings.NewReader(body))
	for name, value := range header {
		req.Header.Set(name, value)
	}
	a.echo.ServeHTTP(rec, req)
	return rec
}

// TestState: the lists show the tunnel, its connector, slots and worker, in pages.
func TestState(t *testing.T) {
	a := connectedLab(t)
	var tunnels opsapi.Tunnels
	if code := a.call("GET", "/tunnels", "", &tunnels); code != http.StatusOK || len(tunnels.Items) != 1 {
		t.Fatalf("tunnels: %d, %+v", code, tunnels)
	}
	got := tunnels.Items[0]
	if got.ID != a.id || got.Health != opsapi.Up || got.Connected != 2 || got.Desired != 2 || len(got.Workers) != 1 {
		t.Errorf("tunnel %+v", got)
	}
	a.report(a.slots()[1], lease.Status{State: lease.StateFailed, Reason: tunnel.ReasonDial, Error: "refused"})
	var one opsapi.TunnelState
	code := a.call("GET", "/tunnels/"+a.id.String(), "", &one)
	if code != http.StatusOK || one.Health != opsapi.Degraded || len(one.Items) != 2 {
		t.Errorf("tunnel: %d, %+v", code, one)
	}
	var status opsapi.Status
	if code = a.call("GET", "/status", "", &status); code != http.StatusOK || status.Health != opsapi.Degraded || len(status.Reasons) != 1 ||
		status.Tunnels != 1 || status.Workers != 1 || !status.StaleSince.IsZero() {
		t.Errorf("status: %d, %+v", code, status)
	}
	var slots opsapi.Slots
	for i, cursor := 0, ""; i == 0 || cursor != ""; i++ {
		slots = opsapi.Slots{}
		code := a.call("GET", "/slots?limit=1&cursor="+cursor, "", &slots)
		if code != http.StatusOK || len(slots.Items) != 1 || int(slots.Items[0].Index) != i || (len(slots.Connectors) == 1) != (i == 0) {
			t.Fatalf("page %d of the slots: %d, %+v", i, code, slots)
		}
		cursor = slots.NextCursor
	}
	var connectors opsapi.Connectors
	if code := a.call("GET", "/connectors", "", &connectors); code != http.StatusOK || len(connectors.Items) != 1 ||
		!slices.Equal(connectors.Items[0].Workers, []tunnel.WorkerID{"w1"}) {
		t.Errorf("connectors: %d, %+v", code, connectors)
	}
	var workers opsapi.Workers
	a.call("PUT", "/workers/w1/drain", `{"drained":true}`, nil)
	if code := a.call("GET", "/workers", "", &workers); code != http.StatusOK || len(workers.Items) != 1 || !workers.Items[0].Drained {
		t.Errorf("workers: %d, %+v", code, workers)
	}
	if err := a.store.PutProxy(t.Context(), fleet.Proxy{ID: "p1", Host: "h"}, 1e12); err != nil {
		t.Fatal(err)
	}
	var proxies opsapi.Proxies
	if code := a.call("GET", "/proxies", "", &proxies); code != http.StatusOK || len(proxies.Items) != 1 || proxies.Items[0].ID != "p1" {
		t.Errorf("proxies: %d, %+v", code, proxies)
	}
	var pools opsapi.Pools
	if code := a.call("GET", "/pools", "", &pools); code != http.StatusOK || len(pools.Items) != 1 || len(pools.Items[0].Regions) != 2 {
		t.Errorf("pools: %d, %+v", code, pools)
	}
	for path, want := range map[string]int{
		"/workers/w1": http.StatusOK, "/workers/w9": http.StatusNotFound, "/tunnels/x": http.StatusBadRequest,
		"/slots?tunnel=x": http.StatusBadRequest,
		"/tunnels/00000000-0000-0000-0000-0000000000ff": http.StatusNotFound, "/tunnels?limit=0": http.StatusBadRequest,
		"/workers?cursor=!": http.StatusBadRequest, "/docs": http.StatusOK, "/docs.css": http.StatusOK,
	} {
		rec := a.do("GET", path, "", nil)
		if rec.Code != want || want >= 400 && rec.Header().Get("Content-Type") != "application/problem+json" {
			t.Errorf("GET %s: %d %s", path, rec.Code, rec.Body)
		}
	}
	page := a.do("GET", "/docs", "", nil)
	if strings.Contains(page.Body.String(), "<script") || page.Header().Get("Content-Security-Policy") == "" {
		t.Error("the page has a script or no policy")
	}
}

// TestVersionsInHeaders: ETag, If-None-Match and If-Match stand for the versions of documents.
func TestVersionsInHeaders(t *testing.T) {
	a := connectedLab(t)
	path := "/desired/" + a.id.String()
	tag := a.do("GET", path, "", nil).Header().Get("ETag")
	if tag != `"0"` {
		t.Fatalf("ETag %q of a tunnel without a document", tag)
	}
	rec := a.do("GET", path, "", map[string]string{"If-None-Match": `"9", W/"0"`})
	if rec.Code != http.StatusNotModified || rec.Body.Len() > 0 {
		t.Errorf("the same version: %d", rec.Code)
	}
	rec = a.do("PUT", path, `{"spec":{"connections":2}}`, map[string]string{"If-Match": tag})
	if rec.Code != http.StatusOK || rec.Header().Get("ETag") == tag {
		t.Fatalf("change: %d %s", rec.Code, rec.Body)
	}
	for given, want := range map[string]int{tag: http.StatusPreconditionFailed, "*": http.StatusBadRequest, `"x"`: http.StatusBadRequest} {
		if rec := a.do("PUT", path, `{"spec":{}}`, map[string]string{"If-Match": given}); rec.Code != want {
			t.Errorf("If-Match %s: %d, want %d", given, rec.Code, want)
		}
	}
	if rec := a.do("PUT", path, `{"version":3,"spec":{}}`, map[string]string{"If-Match": tag}); rec.Code != http.StatusBadRequest {
		t.Errorf("two versions: %d", rec.Code)
	}
	config := "/tunnels/" + a.id.String() + "/config"
	rec = a.do("PUT", config, `{"config":{"ingress":[{"service":"http_status:404"}]}}`, map[string]string{"If-Match": `"0"`})
	first := rec.Header().Get("ETag")
	if rec.Code != http.StatusOK || first == `"0"` {
		t.Fatalf("configuration: %d %s", rec.Code, rec.Body)
	}
	rec = a.do("PUT", config, `{"config":{"ingress":[{"service":"http_status:503"}]}}`, map[string]string{"If-Match": first})
	second := rec.Header().Get("ETag")
	rec = a.do("PUT", config, `{"config":{"ingress":[{"service":"hello_world"}]}}`, map[string]string{"If-Match": first})
	if rec.Code != http.StatusPreconditionFailed {
		t.Errorf("a stale configuration: %d", rec.Code)
	}
	var diff opsapi.Difference
	if code := a.call("POST", config+"/diff", `{"from":`+strings.Trim(first, `"`)+`}`, &diff); code != http.StatusOK || diff.Same ||
		!strings.Contains(diff.Diff, "503") {
		t.Errorf("diff: %d, %+v", code, diff)
	}
	rec = a.do("POST", config+"/rollback", `{"restore":`+strings.Trim(first, `"`)+`}`, map[string]string{"If-Match": second})
	if rec.Code != http.StatusOK || rec.Header().Get("ETag") == second {
		t.Errorf("rollback: %d %s", rec.Code, rec.Body)
	}
	if rec := a.do("POST", config+"/rollback", `{"version":1}`, nil); rec.Code != http.StatusBadRequest {
		t.Errorf("rollback to nothing: %d", rec.Code)
	}
	for service, valid := range map[string]bool{"http_status:404": true, "nonsense": false} {
		var v opsapi.Validation
		code := a.call("POST", config+"/validate", `{"config":{"ingress":[{"service":"`+service+`"}]}}`, &v)
		if code != http.StatusOK || v.Valid != valid || (len(v.Errors) == 0) != valid {
			t.Errorf("validate %s: %d, %+v", service, code, v)
		}
	}
}

// awayStore is a store whose readers of the fleet can be taken away.
type awayStore struct {
	*redisstore.Store
	away atomic.Bool
}

func (s *awayStore) Fleet(ctx context.Context, marks uint64) (fleet.Listing, error) {
	if s.away.Load() {
		return fleet.Listing{}, tunnel.ErrUnavailable
	}
	return s.Store.Fleet(ctx, marks)
}

// TestStale: while the store is unavailable, responses are made of what was read last, and say so.
func TestStale(t *testing.T) {
	l := newLab(t, 8)
	store := &awayStore{Store: l.store}
	a := caller{lab: l, echo: echo.New()}
	s := l.start("s1", store)
	a.echo.HTTPErrorHandler = ops.ErrorHandler(s.log)
	s.Routes(a.echo.Group("/v1"))
	store.away.Store(true)
	if code := a.call("GET", "/tunnels/"+l.id.String()+"/slots", "", nil); code != http.StatusNotFound {
		t.Errorf("before there is a slot: %d", code)
	}
	store.away.Store(false)
	l.worker(1)
	testkit.Eventually(t, "granted", func() bool { return len(l.slots()) == 1 })
	s.api.Refresh(t.Context(), "") // nobody has asked for anything
	var before, after opsapi.Tunnels
	before.Items = []opsapi.Tunnel{{ID: l.id}}
	store.away.Store(true)
	rec := a.do("GET", "/tunnels", "", nil)
	if err := json.Unmarshal(rec.Body.Bytes(), &after); err != nil || rec.Code != http.StatusOK {
		t.Fatalf("away: %d %s", rec.Code, rec.Body)
	}
	if len(after.Items) != 1 || after.Items[0].ID != before.Items[0].ID || after.StaleSince.IsZero() ||
		rec.Header().Get("Culvert-Stale-Since") == "" {
		t.Errorf("away: %+v, header %v", after, rec.Header())
	}
	var status opsapi.Status
	if code := a.call("GET", "/status", "", &status); code != http.StatusOK || status.StaleSince.IsZero() || len(status.Reasons) == 0 {
		t.Errorf("status while away: %d %+v", code, status)
	}
}
