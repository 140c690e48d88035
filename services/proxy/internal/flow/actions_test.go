package flow_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/culvert-tunnel/culvert/pkg/ingress"
	"github.com/culvert-tunnel/culvert/pkg/testkit"
	"github.com/culvert-tunnel/culvert/pkg/wire/stream"
)

// aliceHash is the bcrypt hash of "secret", cost 4.
const aliceHash = "$2a$04$NTXwwoTF2f484AAamrajB.CK39VAab2iogZxW04hNx7Dd22vcCEgy"

// mirror responds with what it saw of a request.
func mirror(t testing.TB) string {
	t.Helper()
	return httpOrigin(t, func(w http.ResponseWriter, r *http.Request) {
		b, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		w.Header().Set("Server", "origin")
		w.Header().Add("X-Kept", "1")
		for _, name := range []string{"X-Set", "X-Add", "X-Gone", "User-Agent", "Authorization"} {
			w.Header()["Saw-"+name] = r.Header[name]
		}
		_, _ = fmt.Fprintf(w, "%s %s", r.RequestURI, b)
	})
}

// acting serves a rule with actions, a line each.
func acting(t *testing.T, service string, lines ...string) interface {
	ask(headers ...string) response
	asking(r stream.Request, body string) response
} {
	t.Helper()
	text := fmt.Sprintf("ingress:\n  - service: %q\n    actions:\n      %s\n", service, strings.Join(lines, "\n      "))
	set := compile(t, text)
	if w := set.Warnings(); len(w) > 0 {
		t.Fatalf("warnings %q", w)
	}
	return actor{t, set}.start()
}

type actor struct {
	t   *testing.T
	set *ingress.Set
}

type running struct {
	actor
	serve func(r stream.Request, body string) response
}

func (a actor) start() running {
	h := serve(a.t, a.set, nil)
	return running{a, func(r stream.Request, body string) response { return do(a.t, h, r, body) }}
}

func (r running) ask(headers ...string) response { return r.serve(get("GET", "/", headers...), "") }

func (r running) asking(req stream.Request, body string) response { return r.serve(req, body) }

func TestPathsForTheOrigin(t *testing.T) {
	url := mirror(t)
	for _, tc := range []struct{ action, target, want string }{
		{"stripPrefix: /api", "/api/users?x=1", "/users?x=1"},
		{"stripPrefix: /api/", "/api/users", "/users"},
		{"stripPrefix: /api", "/api", "/"},
		{"stripPrefix: /api", "/apiary", "/apiary"},
		{"stripPrefix: /api", "/%61pi/a%2Fb", "/a/b"},
		{"stripPrefix: /api", "/api/a%2Fb", "/a%2Fb"},
		{"stripPrefix: /api", "/api//evil.test/x", "/evil.test/x"},
		{"rewrite: {from: '^/old/(.*)', to: '/new/$1'}", "/old/a%20b?q=%41", "/new/a%20b?q=%41"},
		{"rewrite: {from: '^/old/(.*)', to: '/new/$1'}", "/other%2Fpath", "/other%2Fpath"},
		{"rewrite: {from: '^.*$', to: 'x'}", "/a", "/x"},
		{"rewrite: {from: '/', to: \"?\"}", "/a", "/%3Fa"},
	} {
		a := acting(t, url, tc.action).asking(get("GET", tc.target), "")
		if a.status != "200" || a.body != tc.want+" " {
			t.Errorf("%s, %s: %s %q, want %q", tc.action, tc.target, a.status, a.body, tc.want)
		}
	}
}

func TestHeaders(t *testing.T) {
	a := acting(
		t, mirror(t),
		"requestHeaders:", "  remove: [X-Gone, User-Agent]",
		"  set: {X-Set: 'from {client} to {host}{uri} by {method} {scheme} {request_id}'}", "  add: {X-Add: two}",
		"responseHeaders: {remove: [Server], set: {X-Frame-Options: DENY}, add: {X-Kept: '2'}}",
	).asking(get(
		"GET", "/p?q", "X-Gone: 1", "X-Set: a", "X-Set: b", "X-Add: one", "User-Agent: curl", "Cf-Connecting-Ip: 203.0.113.9", "Cf-Ray: r1",
	), "")
	for name, want := range map[string]string{
		"Saw-X-Gone": "", "Saw-User-Agent": "", "Saw-X-Set": "from 203.0.113.9 to app.example.com/p?q by GET https r1", "Saw-X-Add": "one,two",
		"Server": "", "X-Frame-Options": "DENY", "X-Kept": "1,2",
	} {
		if got := strings.Join(a.values(name), ","); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}

func TestResponsesOfTheRuleItself(t *testing.T) {
	for _, tc := range []struct{ action, target, status, header, body string }{
		{"redirect: {to: 'https://new.test{uri}'}", "/a?b=c", "308", "Location: https://new.test/a?b=c", ""},
		{"redirect: {to: '/x{path}', status: 302}", "/a", "302", "Location: /x/a", ""},
		{"redirect: {to: '/{path}', status: 301}", "//evil.test/", "301", "Location: /evil.test/", ""},
		{"redirect: {to: '{scheme}://www.test{path}'}", "/", "308", "Location: https://www.test/", ""},
		{"respond: {body: 'be right back', status: 503}", "/", "503", "Content-Type: text/plain; charset=utf-8", "be right back"},
		{"respond: {body: '{}', contentType: application/json}", "/", "200", "Content-Type: application/json", "{}"},
	} {
		a := acting(t, "http://127.0.0.1:1", tc.action).asking(get("GET", tc.target), "")
		if a.status != tc.status || a.body != tc.body || !contains(a.pairs, tc.header) {
			t.Errorf("%s, %s: %+v, want %s, %s", tc.action, tc.target, a, tc.status, tc.header)
		}
	}
}

func TestVisitorsByAddress(t *testing.T) {
	url := mirror(t)
	rules := []string{
		"ipRules: [{prefix: 198.51.100.0/24}, {prefix: 198.51.0.0/16, allow: true}, {prefix: '2001:db8::/32', allow: true}]",
		"trustedHops: [10.0.0.0/8]",
	}
	h := acting(t, url, rules...)
	for _, tc := range []struct{ client, forwarded, want string }{
		{"198.51.1.1", "", "200"},
		{"198.51.100.1", "", "403"},
		{"203.0.113.1", "", "403"},
		{"::ffff:198.51.1.1", "", "200"},
		{"2001:db8::1", "", "200"},
		{"", "198.51.1.1", "403"},                       // the edge says nothing
		{"203.0.113.1", "198.51.1.1", "403"},            // not a trusted hop
		{"10.0.0.1", "198.51.1.1", "200"},               // a trusted hop says who it is
		{"10.0.0.1", "198.51.1.1, 10.9.9.9", "200"},     // two hops
		{"10.0.0.1", "198.51.1.1, 203.0.113.1", "403"},  // the last untrusted one counts
		{"10.0.0.1", "198.51.1.1, garbage", "403"},      // nothing behind garbage counts
		{"10.0.0.1", "10.0.0.2", "403"},                 // only hops
		{"10.0.0.1", "198.51.1.1, 2001:db8::2", "200"},  // IPv6
		{"10.0.0.1", "198.51.100.7,198.51.1.1 ", "200"}, // blanks
	} {
		var headers []string
		if tc.client != "" {
			headers = append(headers, "Cf-Connecting-Ip: "+tc.client)
		}
		if tc.forwarded != "" {
			headers = append(headers, "X-Forwarded-For: "+tc.forwarded)
		}
		if a := h.ask(headers...); a.status != tc.want {
			t.Errorf("client %q, forwarded %q: %s, want %s", tc.client, tc.forwarded, a.status, tc.want)
		}
	}
}

func TestPasswords(t *testing.T) {
	h := acting(t, mirror(t), "basicAuth: {realm: lab, users: {alice: '"+aliceHash+"'}}")
	for _, tc := range []struct{ header, want string }{
		{"", "401"},
		{"Authorization: Basic YWxpY2U6c2VjcmV0", "200"}, // alice:secret
		{"Authorization: Basic YWxpY2U6c2VjcmV0", "200"}, // remembered
		{"Authorization: Basic YWxpY2U6d3Jvbmc=", "401"}, // alice:wrong
		{"Authorization: Basic Ym9iOnNlY3JldA==", "401"}, // bob:secret
		{"Authorization: Bearer YWxpY2U6c2VjcmV0", "401"},
		{"Authorization: Basic !", "401"},
	} {
		a := h.ask(tc.header)
		if tc.header == "" {
			a = h.ask()
		}
		if a.status != tc.want {
			t.Errorf("%q: %s, want %s", tc.header, a.status, tc.want)
		}
		if challenge := strings.Join(a.values("Www-Authenticate"), ""); a.status == "401" && challenge != `Basic realm="lab", charset="UTF-8"` {
			t.Errorf("challenge %q", challenge)
		}
		if got := a.values("Saw-Authorization"); got != nil {
			t.Errorf("the origin saw the password: %q", got)
		}
	}
}

func TestBodyLimit(t *testing.T) {
	h := acting(t, mirror(t), "maxBody: 10")
	for _, tc := range []struct {
		body   string
		header string
		want   string
	}{
		{"0123456789", "Content-Length: 10", "200"},
		{"0123456789a", "Content-Length: 11", "413"},
		{"0123456789", "Transfer-Encoding: chunked", "200"},
		{strings.Repeat("x", 100_000), "Transfer-Encoding: chunked", "413"},
	} {
		if a := h.asking(get("POST", "/", tc.header), tc.body); a.status != tc.want {
			t.Errorf("%d bytes, %s: %s, want %s", len(tc.body), tc.header, a.status, tc.want)
		}
	}
}

func TestTimeoutOfARule(t *testing.T) {
	url := httpOrigin(t, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	if a := acting(t, url, "timeout: 50ms").ask(); a.status != "504" || !strings.Contains(a.err, "timeout is over") {
		t.Errorf("response %+v", a)
	}
}

func TestRequestLimits(t *testing.T) {
	var inside atomic.Int32
	release := make(chan struct{})
	url := httpOrigin(t, func(w http.ResponseWriter, _ *http.Request) {
		inside.Add(1)
		<-release
		_, _ = io.WriteString(w, "x")
	})
	set := compile(t, fmt.Sprintf("ingress:\n  - service: %s\n    actions: {limits: {inFlight: 2, inFlightPerClient: 1}}\n", url))
	h := serve(t, set, nil)
	var open []*call
	for _, client := range []string{"203.0.113.1", "203.0.113.2"} {
		open = append(open, start2(t, h, get("GET", "/", "Cf-Connecting-Ip: "+client), ""))
	}
	testkit.Eventually(t, "two requests are in progress", func() bool { return inside.Load() == 2 })
	for _, client := range []string{"203.0.113.1", "203.0.113.3"} {
		a := do(t, h, get("GET", "/", "Cf-Connecting-Ip: "+client), "")
		if a.status != "503" || !contains(a.pairs, "Retry-After: 1") {
			t.Errorf("%s: %+v, want 503 with Retry-After", client, a)
		}
	}
	close(release)
	for _, c := range open {
		if a := c.finish(); a.status != "200" {
			t.Errorf("%+v", a)
		}
		c.wait()
	}
	if a := do(t, h, get("GET", "/", "Cf-Connecting-Ip: 203.0.113.1"), ""); a.status != "200" {
		t.Errorf("after the others ended: %+v", a)
	}
}

func TestRateLimit(t *testing.T) {
	h := acting(t, "http_status:204", "limits: {ratePerClient: 0.001, burstPerClient: 2}")
	for i, want := range []string{"204", "204", "429"} {
		if a := h.ask("Cf-Connecting-Ip: 2001:db8::" + fmt.Sprint(i)); a.status != want { // one /64 is one visitor
			t.Errorf("request %d: %s, want %s", i, a.status, want)
		}
	}
	if a := h.ask("Cf-Connecting-Ip: 2001:db8:1::1"); a.status != "204" {
		t.Errorf("another visitor: %s", a.status)
	}
}

// TestMalformedActionsCloseTheRule: what cannot be read may have been protection.
func TestMalformedActionsCloseTheRule(t *testing.T) {
	var reached atomic.Int32
	url := httpOrigin(t, func(http.ResponseWriter, *http.Request) { reached.Add(1) })
	for _, text := range []string{"basicAut: {}", "basicAuth: {users: {alice: plain}}", "ipRules: [{prefix: x}]", "[]"} {
		set := compile(t, fmt.Sprintf("ingress:\n  - service: %s\n    actions: {%s}\n", url, text))
		if text == "[]" {
			set = compile(t, fmt.Sprintf("ingress:\n  - service: %s\n    actions: []\n", url))
		}
		h := serve(t, set, nil)
		for _, kind := range []stream.Type{stream.HTTP, stream.WebSocket} {
			r := get("GET", "/")
			r.Type = kind
			if a := do(t, h, r, ""); a.status != "503" {
				t.Errorf("%s: status %s, want 503", text, a.status)
			}
		}
		if len(set.Warnings()) == 0 || !strings.Contains(set.Warnings()[0], "refuses every request") {
			t.Errorf("%s: warnings %q", text, set.Warnings())
		}
	}
	if reached.Load() != 0 {
		t.Error("the origin was reached")
	}
}

// TestPathsDodgeNoPassword: an origin may resolve a path that the rules must not change (docs/spec/ingress.md D2).
func TestPathsDodgeNoPassword(t *testing.T) {
	for name, action := range map[string]string{
		"password": "basicAuth: {users: {alice: '" + aliceHash + "'}}", "address": "ipRules: [{prefix: 10.0.0.0/8, allow: true}]",
		"closed": "limits: x",
	} {
		h := serve(t, compile(t, fmt.Sprintf(`
ingress:
  - {hostname: app.example.com, path: ^/admin, service: "http_status:200", actions: {%s}}
  - {service: "http_status:204"}
`, action)), nil)
		for target, want := range map[string]string{"/public": "204", "/public/../admin": "400", "//admin": "400", "/public/./x": "204"} {
			if a := do(t, h, get("GET", target), ""); a.status != want {
				t.Errorf("%s, %s: %s, want %s", name, target, a.status, want)
			}
		}
	}
}

// TestActionsGuardWebSockets asks with a handshake.
func TestActionsGuardWebSockets(t *testing.T) {
	h := acting(t, "hello_world", "basicAuth: {users: {alice: '"+aliceHash+"'}}")
	r := get("GET", "/ws", "Sec-Websocket-Key: dGhlIHNhbXBsZSBub25jZQ==")
	r.Type = stream.WebSocket
	if a := h.asking(r, ""); a.status != "401" {
		t.Errorf("status %s, want 401", a.status)
	}
}
