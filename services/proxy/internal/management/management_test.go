package management_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/golang-jwt/jwt/v5"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"github.com/culvert-tunnel/culvert/pkg/link"
	wire "github.com/culvert-tunnel/culvert/pkg/management"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
	"github.com/culvert-tunnel/culvert/services/proxy/internal/management"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	tunnelID  = tunnel.ID{15: 1}
	connector = tunnel.ConnectorID{15: 2}
	about     = link.Meta{Tunnel: tunnelID, Connector: connector}
)

func newKey(tb testing.TB) *ecdsa.PrivateKey {
	tb.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	return key
}

// token makes a token of an actor for a tunnel.
func token(tb testing.TB, id tunnel.ID, actor string, key *ecdsa.PrivateKey) string {
	tb.Helper()
	text, err := wire.Sign(&wire.Claims{
		Tunnel: wire.TokenTunnel{ID: id.String(), AccountTag: "account"}, Actor: wire.Actor{ID: actor},
		RegisteredClaims: jwt.RegisteredClaims{Issuer: "tunnelstore"},
	}, key)
	if err != nil {
		tb.Fatal(err)
	}
	return text
}

func keyText(tb testing.TB, key *ecdsa.PrivateKey) string {
	tb.Helper()
	text, err := wire.KeyText(&key.PublicKey)
	if err != nil {
		tb.Fatal(err)
	}
	return text
}

// call sends a plain request.
func call(t *testing.T, s *management.Service, method, target, edgeKey string, header http.Header) *http.Response {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), method, "https://management.argotunnel.com"+target, http.NoBody)
	for name, values := range header {
		r.Header[name] = values
	}
	h, stream := s.Serve(r, about, edgeKey, false)
	if stream != nil {
		t.Fatalf("%s %s opens a stream", method, target)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Result()
}

func bodyOf(t *testing.T, res *http.Response) string {
	t.Helper()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestTokenCheck(t *testing.T) {
	s := management.New(management.Default(), slog.New(slog.DiscardHandler), nil, nil)
	key, other := newKey(t), newKey(t)
	mine := token(t, tunnelID, "me", key)
	for name, tc := range map[string]struct {
		query, key string
		status     int
		body       string
	}{
		"none":                 {"", "", 400, "missing access_token query parameter"},
		"unreadable":           {"access_token=x.y.z", "", 400, "missing access_token query parameter"},
		"another tunnel":       {"access_token=" + token(t, tunnel.ID{15: 9}, "me", key), "", 400, "for another tunnel"},
		"another edge":         {"access_token=" + mine, "", 200, ""},
		"own edge":             {"access_token=" + mine, keyText(t, key), 200, ""},
		"own edge, other key":  {"access_token=" + mine, keyText(t, other), 400, "not signed by this edge"},
		"own edge, broken key": {"access_token=" + mine, "x", 400, "not signed by this edge"},
	} {
		t.Run(name, func(t *testing.T) {
			res := call(t, s, http.MethodGet, "/ping?"+tc.query, tc.key, nil)
			body := bodyOf(t, res)
			if res.StatusCode != tc.status || !strings.Contains(body, tc.body) {
				t.Errorf("status %d, body %q, want %d and %q", res.StatusCode, body, tc.status, tc.body)
			}
			var p struct {
				Errors []struct {
					Code    int
					Message string
				}
			}
			if tc.status == 400 && (json.Unmarshal([]byte(body), &p) != nil || len(p.Errors) != 1 || p.Errors[0].Code != 1001) {
				t.Errorf("body %q is no problem with code 1001", body)
			}
		})
	}
}

func TestRoutes(t *testing.T) {
	reg := prometheus.NewRegistry()
	reg.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "some_thing", Help: "A thing."}, func() float64 { return 1 }))
	cfg := management.Default()
	on := management.New(cfg, slog.New(slog.DiscardHandler), reg, nil)
	cfg.Diagnostics, cfg.Label, cfg.ServiceIP = false, "mine", "127.0.0.1:1"
	off := management.New(cfg, slog.New(slog.DiscardHandler), reg, nil)
	query := "?access_token=" + token(t, tunnelID, "me", newKey(t))
	for _, tc := range []struct {
		s            *management.Service
		method, path string
		status       int
		body         string
	}{
		{on, "GET", "/ping", 200, ""},
		{on, "HEAD", "/ping", 200, ""},
		{on, "POST", "/ping", 405, ""},
		{on, "GET", "/", 404, ""},
		{on, "GET", "/logs", 426, "websocket"},
		{on, "GET", "/metrics", 200, "some_thing 1"},
		{on, "GET", "/debug/pprof/heap", 200, ""},
		{on, "GET", "/debug/pprof/goroutine?debug=1&", 200, "goroutine profile"},
		{on, "GET", "/debug/pprof/cmdline", 404, ""},
		{on, "GET", "/host_details", 200, `"connector_id":"` + connector.String() + `"`},
		{off, "GET", "/metrics", 404, ""},
		{off, "GET", "/debug/pprof/heap", 404, ""},
		{off, "GET", "/host_details", 200, `"ip":"127.0.0.1","hostname":"custom:mine"`},
	} {
		q := query
		if strings.Contains(tc.path, "?") {
			q = query[1:]
		}
		res := call(t, tc.s, tc.method, tc.path+q, "", nil)
		if body := bodyOf(t, res); res.StatusCode != tc.status || !strings.Contains(body, tc.body) {
			t.Errorf("%s %s: status %d, body %.200q, want %d and %q", tc.method, tc.path, res.StatusCode, body, tc.status, tc.body)
		}
	}
}

func TestCrossOrigin(t *testing.T) {
	s := management.New(management.Default(), slog.New(slog.DiscardHandler), nil, nil)
	target := "/ping?access_token=" + token(t, tunnelID, "me", newKey(t))
	for origin, allowed := range map[string]bool{
		"https://dash.cloudflare.com": true, "https://a.b.cloudflare.com": true, "http://dash.cloudflare.com": false,
		"https://cloudflare.com": false, "https://evilcloudflare.com": false, "https://.cloudflare.com": false, "": false,
	} {
		res := call(t, s, http.MethodGet, target, "", http.Header{"Origin": {origin}})
		want := ""
		if allowed {
			want = origin
		}
		credentials := res.Header.Get("Access-Control-Allow-Credentials") == "true"
		if got := res.Header.Get("Access-Control-Allow-Origin"); got != want || credentials != allowed {
			t.Errorf("%q: allowed %q, want %q", origin, got, want)
		}
	}
	res := call(t, s, http.MethodOptions, target, "", http.Header{
		"Origin": {"https://dash.cloudflare.com"}, "Access-Control-Request-Method": {"GET"},
	})
	if res.StatusCode != http.StatusNoContent || res.Header.Get("Access-Control-Max-Age") != "300" {
		t.Errorf("preflight: %d, %v", res.StatusCode, res.Header)
	}
}

func TestForeignPagesOpenNoStream(t *testing.T) {
	s := management.New(management.Default(), slog.New(slog.DiscardHandler), nil, nil)
	for origin, want := range map[string]int{
		"": 0, "https://dash.cloudflare.com": 0, "https://management.argotunnel.com": 0, "https://example.com": 403, "%": 403,
	} {
		r := request(t, token(t, tunnelID, "me", newKey(t)))
		r.Header.Set("Origin", origin)
		h, stream := s.Serve(r, about, "", true)
		if want == 0 {
			if stream == nil {
				t.Errorf("%q is refused", origin)
			}
			continue
		}
		w := httptest.NewRecorder()
		if h.ServeHTTP(w, r); w.Code != want {
			t.Errorf("%q: status %d", origin, w.Code)
		}
	}
}

func request(t *testing.T, accessToken string) *http.Request {
	t.Helper()
	return httptest.NewRequestWithContext(t.Context(), http.MethodGet,
		"https://management.argotunnel.com/logs?access_token="+url.QueryEscape(accessToken), http.NoBody)
}
