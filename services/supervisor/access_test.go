package supervisor

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"

	"github.com/culvert-tunnel/culvert/pkg/lease"
	"github.com/culvert-tunnel/culvert/pkg/ops"
	"github.com/culvert-tunnel/culvert/pkg/opsapi"
	"github.com/culvert-tunnel/culvert/pkg/opstoken"
	"github.com/culvert-tunnel/culvert/pkg/redisstore/command"
	"github.com/culvert-tunnel/culvert/pkg/testkit"
)

// serve gives a connected lab a real listener, with the guard of every process.
func (a caller) serve() (url string) {
	a.t.Helper()
	server, err := ops.New(a.t.Context(), ops.Config{Listen: "127.0.0.1:0"}, ops.Deps{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		a.t.Fatal(err)
	}
	server.Add("supervisor", a.service)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- server.Run(ctx) }()
	a.t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			a.t.Errorf("run: %v", err)
		}
	})
	return "http://" + server.Addr().String()
}

// ask makes a request over the listener.
func ask(t *testing.T, method, url, token, body string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

func (a caller) token(name string, scope opsapi.Scope) opsapi.MadeToken {
	a.t.Helper()
	var made opsapi.MadeToken
	code := a.call("POST", "/tokens", `{"name":"`+name+`","scope":"`+string(scope)+`","author":"ann"}`, &made)
	if code != http.StatusCreated || made.Token == "" {
		a.t.Fatalf("token: %d", code)
	}
	return made
}

// TestEveryRouteWithEveryScope: the table decides, over a real listener.
func TestEveryRouteWithEveryScope(t *testing.T) {
	a := connectedLab(t)
	url := a.serve()
	path := strings.NewReplacer("{tunnel}", a.id.String(), "{worker}", "w9", "{id}", "none", "{index}", "9")
	for _, has := range opstoken.Scopes() {
		token := a.token("all-"+string(has), has).Token
		for _, o := range opsapi.Operations() {
			at := path.Replace(o.Path)
			if o.ID == "streamEvents" {
				at += "?after=x" // a stream would not end
			}
			code, body := ask(t, o.Method, url+opsapi.Base+at, token, "")
			refused := code == http.StatusForbidden || code == http.StatusUnauthorized
			if refused == has.Allows(o.Scope) || code >= 500 {
				t.Errorf("%s with %s: %d %s", o.ID, has, code, body)
			}
		}
	}
}

// TestTokens: a token is shown once, is kept as a hash, is noted when it is used, and does not count any more when it was revoked.
func TestTokens(t *testing.T) {
	a := connectedLab(t)
	url := a.serve() + "/v1/status"
	made := a.token("ci", opsapi.Read)
	secret := made.Token[strings.LastIndexByte(made.Token, '_')+1:]
	if code := a.call("POST", "/tokens", `{"name":"ci","scope":"read"}`, nil); code != http.StatusConflict {
		t.Errorf("a second one of the name: %d", code)
	}
	for _, body := range []string{`{}`, `{"name":"x","scope":"root"}`, `{"name":"x","scope":"read","expires_in":"1"}`, `[`} {
		if code := a.call("POST", "/tokens", body, nil); code != http.StatusBadRequest {
			t.Errorf("token %s: %d", body, code)
		}
	}
	if code, _ := ask(t, "GET", url, made.Token, ""); code != http.StatusOK {
		t.Errorf("with the token: %d", code)
	}
	var list opsapi.Tokens
	if code := a.call("GET", "/tokens", "", &list); code != http.StatusOK || len(list.Items) != 1 || list.Items[0].Used.IsZero() {
		t.Errorf("list: %d %+v", code, list)
	}
	if code := a.call("DELETE", "/tokens/"+made.ID, "", nil); code != http.StatusNoContent {
		t.Errorf("revoke: %d", code)
	}
	if code := a.call("DELETE", "/tokens/"+made.ID, "", nil); code != http.StatusNotFound {
		t.Errorf("revoke again: %d", code)
	}
	if code, _ := ask(t, "GET", url, made.Token, ""); code != http.StatusUnauthorized {
		t.Errorf("with a revoked token: %d", code)
	}
	var changes opsapi.Changes
	rec := a.do("GET", "/audit", "", nil)
	err := json.Unmarshal(rec.Body.Bytes(), &changes)
	if err != nil || len(changes.Items) != 2 || changes.Items[0].Operation != "revokeToken" {
		t.Errorf("audit: %d %s", rec.Code, rec.Body)
	}
	entries, err := a.store.Before(t.Context(), command.Audit, "", 10)
	if err != nil || len(entries) != 2 {
		t.Fatalf("entries %v, %v", entries, err)
	}
	for _, e := range entries {
		if strings.Contains(e.Body, secret) || strings.Contains(e.Body, "hash") {
			t.Errorf("entry %s", e.Body)
		}
	}
	if strings.Contains(a.log.text(), secret) {
		t.Error("the log has the secret")
	}
}

// TestAudit: who changed what, before and after, in pages; what failed is not there.
func TestAudit(t *testing.T) {
	a := connectedLab(t)
	path := "/tunnels/" + a.id.String()
	a.call("POST", path+"/scale", `{"connections":1,"author":"ann"}`, nil)
	a.call("POST", path+"/scale", `{"connections":999}`, nil)
	a.call("POST", path+"/config/validate", `{"config":{}}`, nil)
	a.call("POST", path+"/pause", ``, nil)
	a.call("PUT", path+"/config", `{"version":0,"config":{"ingress":[{"service":"http://user:hunter2@h"}]}}`, nil)
	var got []opsapi.Change
	for cursor := ""; ; {
		var page opsapi.Changes
		if code := a.call("GET", "/audit?limit=2&cursor="+cursor, "", &page); code != http.StatusOK {
			t.Fatalf("audit: %d", code)
		}
		got = append(got, page.Items...)
		if cursor = page.NextCursor; cursor == "" {
			break
		}
	}
	var names []string
	for _, c := range got {
		names = append(names, c.Operation)
		if strings.Contains(string(c.Before)+string(c.After), "hunter2") {
			t.Errorf("%s has a password", c.Operation)
		}
	}
	if strings.Join(names, " ") != "setConfiguration pauseTunnel scaleTunnel" {
		t.Fatalf("changes %v", names)
	}
	if string(got[2].Before) != `{}` || string(got[2].After) != `{"connections":1}` ||
		string(got[1].After) != `{"connections":1,"paused":true}` {
		t.Errorf("scale %s to %s, pause to %s", got[2].Before, got[2].After, got[1].After)
	}
	if code := a.call("GET", "/audit?cursor="+opsapi.Cursor("x"), "", nil); code != http.StatusBadRequest {
		t.Errorf("a bad cursor: %d", code)
	}
}

// TestIdempotency: the same request with the same key has the same response, and is carried out once.
func TestIdempotency(t *testing.T) {
	a := connectedLab(t)
	path := "/tunnels/" + a.id.String() + "/slots/1/reconnect"
	key := map[string]string{"Idempotency-Key": "k1"}
	first := a.do("POST", path, `{}`, key)
	second := a.do("POST", path, `{}`, key)
	if first.Code != http.StatusAccepted || second.Code != first.Code || second.Body.String() != first.Body.String() ||
		second.Header().Get("Idempotency-Replayed") != "true" {
		t.Errorf("first %d %s, second %d %s", first.Code, first.Body, second.Code, second.Body)
	}
	if rec := a.do("POST", path, `{"author":"bob"}`, key); rec.Code != http.StatusUnprocessableEntity {
		t.Errorf("another body: %d", rec.Code)
	}
	if rec := a.do("POST", path, `{}`, map[string]string{"Idempotency-Key": "k2"}); rec.Body.String() == first.Body.String() {
		t.Error("another key had the same response")
	}
	if rec := a.do("POST", path, `{}`, map[string]string{"Idempotency-Key": strings.Repeat("k", 200)}); rec.Code != http.StatusBadRequest {
		t.Errorf("a long key: %d", rec.Code)
	}
	missing := "/tunnels/" + a.id.String() + "/slots/77/reconnect"
	for range 2 {
		if rec := a.do("POST", missing, `{}`, key); rec.Code != http.StatusNotFound {
			t.Errorf("a slot that there is not: %d", rec.Code)
		}
	}
}

// TestActions: each action does what it says, and keeps the rest of the document.
func TestActions(t *testing.T) {
	a := connectedLab(t)
	path := "/tunnels/" + a.id.String()
	var doc opsapi.DesiredTunnel
	if code := a.call("POST", path+"/scale", `{"connections":3}`, &doc); code != http.StatusOK || doc.Connections != 3 {
		t.Fatalf("scale: %d %+v", code, doc)
	}
	version := doc.Version
	if code := a.call("POST", path+"/scale", `{"connections":3}`, &doc); code != http.StatusOK || doc.Version != version {
		t.Errorf("the same scale: %d %+v", code, doc)
	}
	if code := a.call("POST", path+"/pause", `{}`, &doc); code != http.StatusOK || !doc.Paused || doc.Connections != 3 {
		t.Errorf("pause: %d %+v", code, doc)
	}
	testkit.Eventually(t, "no slot is held", func() bool { return a.slots()[0].Worker == "" && a.slots()[1].Worker == "" })
	doc = opsapi.DesiredTunnel{}
	if code := a.call("POST", path+"/resume", ``, &doc); code != http.StatusOK || doc.Paused || doc.Connections != 3 {
		t.Errorf("resume: %d %+v", code, doc)
	}
	testkit.Eventually(t, "the first slot is held", func() bool { return a.slots()[0].Worker != "" })
	a.report(a.slots()[0], lease.Status{State: lease.StateConnected})
	before := a.slots()[0]
	var order opsapi.Command
	if code := a.call("POST", path+"/slots/0/move", `{"ttl":"20s"}`, &order); code != http.StatusAccepted || order.Epoch != before.Epoch {
		t.Fatalf("move: %d %+v", code, order)
	}
	testkit.Eventually(t, "moved", func() bool { r := a.slots()[0]; return r.Epoch > before.Epoch && r.Edge != before.Edge })
	var mark opsapi.WorkerMark
	if code := a.call("POST", "/workers/w1/drain", `{"author":"ann"}`, &mark); code != http.StatusOK || !mark.Drained {
		t.Errorf("drain: %d %+v", code, mark)
	}
	if code := a.call("POST", "/workers/w1/undrain", `{}`, &mark); code != http.StatusOK || mark.Drained {
		t.Errorf("undrain: %d %+v", code, mark)
	}
	for at, body := range map[string]string{
		path + "/scale": `{"connections":256}`, path + "/pause": `{"x":1}`, path + "/slots/x/move": `{}`,
		path + "/slots/0/move":      `{"edge_addr":"x"}`,
		path + "/slots/1/reconnect": `{"worker_id":"w2"}`, path + "/slots/1/move": `{"ttl":"1h"}`,
	} {
		if code := a.call("POST", at, body, nil); code != http.StatusBadRequest {
			t.Errorf("POST %s %s: %d", at, body, code)
		}
	}
	unknown := "/tunnels/00000000-0000-0000-0000-0000000000ff"
	if code := a.call("POST", unknown+"/pause", `{}`, nil); code != http.StatusNotFound {
		t.Errorf("pause of no tunnel: %d", code)
	}
}
