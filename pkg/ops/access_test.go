package ops_test

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/labstack/echo/v4"

	"github.com/culvert-tunnel/culvert/pkg/ops"
	"github.com/culvert-tunnel/culvert/pkg/opstoken"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

// guardedPart has a route for each scope, and a token for each scope that is named like it.
type guardedPart struct {
	away, empty bool
}

func (p *guardedPart) Routes(g *echo.Group) {
	who := func(c echo.Context) error { return c.String(http.StatusOK, ops.PrincipalOf(c).Name) }
	for _, s := range opstoken.Scopes() {
		g.GET("/get/"+string(s), who)
		g.POST("/post/"+string(s), who)
	}
	g.GET("/unknown", who)
	g.POST("/unknown", who)
}

func (p *guardedPart) Scope(_, route string) (opstoken.Scope, bool) {
	s := opstoken.Scope(route[strings.LastIndexByte(route, '/')+1:])
	return s, s.Validate() == nil
}

func (p *guardedPart) Principal(_ context.Context, token string) (ops.Principal, bool, error) {
	if p.away {
		return ops.Principal{}, false, tunnel.ErrUnavailable
	}
	s := opstoken.Scope(token)
	return ops.Principal{Name: token + "er", Token: token, Scope: s}, s.Validate() == nil, nil
}

func (p *guardedPart) Guarded(context.Context) bool { return !p.empty }

// TestScopesOfRoutes tries every route with every scope, without a token and with a wrong one, from this host and from elsewhere.
func TestScopesOfRoutes(t *testing.T) {
	s, err := ops.New(t.Context(), ops.Config{Listen: "127.0.0.1:0"}, ops.Deps{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	part := &guardedPart{}
	s.Add("part", part)
	ask := func(method, path, peer string, header ...string) (int, string) {
		r := httptest.NewRequest(method, path, strings.NewReader("{}"))
		r.RemoteAddr, r.Host = peer, "localhost"
		r.Header.Set("Content-Type", "application/json")
		for _, h := range header {
			name, value, _ := strings.Cut(h, ": ")
			r.Header.Set(name, value)
		}
		w := httptest.NewRecorder()
		ops.HandlerOf(s).ServeHTTP(w, r)
		return w.Code, w.Body.String()
	}
	peers := 0
	peer := func() string { peers++; return "192.0.2." + strconv.Itoa(peers%250) + ":1" }
	for _, needs := range append(opstoken.Scopes(), "unknown") {
		for _, method := range []string{http.MethodGet, http.MethodPost} {
			path := "/v1/" + strings.ToLower(method) + "/" + string(needs)
			really := needs
			if needs == "unknown" {
				path, really = "/v1/unknown", opstoken.Read
				if method == http.MethodPost {
					really = opstoken.Admin
				}
			}
			for _, has := range opstoken.Scopes() {
				want := http.StatusForbidden
				if has.Allows(really) {
					want = http.StatusOK
				}
				code, body := ask(method, path, peer(), "Authorization: Bearer "+string(has))
				if code != want || code == http.StatusOK && body != string(has)+"er" {
					t.Errorf("%s %s with %s: %d %s, want %d", method, path, has, code, body, want)
				}
			}
			if code, _ := ask(method, path, peer(), "Authorization: Bearer other"); code != http.StatusUnauthorized {
				t.Errorf("%s %s with a wrong token: %d", method, path, code)
			}
			code, _ := ask(method, path, peer())
			if method == http.MethodGet && code != http.StatusUnauthorized || code < 400 {
				t.Errorf("%s %s from elsewhere without a token: %d", method, path, code)
			}
			if code, _ := ask(http.MethodGet, "/v1/get/read", "127.0.0.1:1"); code != http.StatusOK {
				t.Errorf("a read from this host: %d", code)
			}
		}
	}
	for _, h := range []string{"Sec-Fetch-Site: cross-site", "Sec-Fetch-Site: same-site", "Origin: https://evil.example", "Origin: null"} {
		if code, _ := ask(http.MethodGet, "/v1/get/read", peer(), "Authorization: Bearer admin", h); code != http.StatusForbidden {
			t.Errorf("a page of another site (%s): %d", h, code)
		}
	}
	for _, h := range []string{"Sec-Fetch-Site: same-origin", "Sec-Fetch-Site: none", "Origin: http://localhost"} {
		if code, _ := ask(http.MethodPost, "/v1/post/admin", peer(), "Authorization: Bearer admin", h); code != http.StatusOK {
			t.Errorf("a page of this site with a token (%s): %d", h, code)
		}
	}
	part.away = true
	if code, _ := ask(http.MethodGet, "/v1/get/read", peer(), "Authorization: Bearer admin"); code != http.StatusServiceUnavailable {
		t.Errorf("a token that cannot be looked up: %d", code)
	}
	part.away, part.empty = false, true
	if code, _ := ask(http.MethodGet, "/v1/get/read", peer()); code != http.StatusOK {
		t.Errorf("a read from elsewhere where no tokens are in use: %d", code)
	}
}

// TestRate: a peer that asks too much is refused, others and its token are not, and wrong tokens cost more.
func TestRate(t *testing.T) {
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte("secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := ops.New(t.Context(), ops.Config{Listen: "127.0.0.1:0", TokenFile: file}, ops.Deps{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	s.Add("part", &guardedPart{})
	refusedAfter := func(peer, token string) (int, error) {
		for n := range 5000 {
			r := httptest.NewRequest(http.MethodGet, "/v1/get/read", http.NoBody)
			r.RemoteAddr, r.Host = peer, "localhost"
			r.Header.Set("Authorization", "Bearer "+token)
			w := httptest.NewRecorder()
			ops.HandlerOf(s).ServeHTTP(w, r)
			if w.Code == http.StatusTooManyRequests {
				if w.Header().Get("Retry-After") == "" {
					return n, errors.New("no Retry-After")
				}
				return n, nil
			}
		}
		return 0, errors.New("never refused")
	}
	wrong, err := refusedAfter("192.0.2.1:1", "other")
	if err != nil || wrong > 200 {
		t.Errorf("wrong tokens: refused after %d, %v", wrong, err)
	}
	if n, err := refusedAfter("192.0.2.1:2", "other"); n > 5 || err != nil {
		t.Errorf("another port of the same peer: %d, %v", n, err)
	}
	if n, err := refusedAfter("[2001:db8::1]:1", "read"); n <= wrong || err != nil {
		t.Errorf("another peer with a token: refused after %d, %v", n, err)
	}
}
