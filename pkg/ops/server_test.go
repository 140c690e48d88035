package ops_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/labstack/echo/v4"
	"go.uber.org/goleak"

	"github.com/culvert-tunnel/culvert/pkg/ops"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type fakePart struct{ err error }

func (p *fakePart) Ready() error { return p.err }

func (p *fakePart) Routes(g *echo.Group) {
	g.POST("/change", func(c echo.Context) error { return c.NoContent(http.StatusNoContent) })
	g.GET("/fine", func(c echo.Context) error { return c.JSON(http.StatusOK, map[string]int{"n": 1}) })
	for name, err := range map[string]error{
		"missing": fmt.Errorf("tunnel 7: %w", tunnel.ErrNotFound), "conflict": tunnel.ErrConflict,
		"fenced": tunnel.ErrFenced, "away": tunnel.ErrUnavailable, "draining": tunnel.ErrDraining,
		"noaddr": tunnel.ErrNoAddress, "odd": errors.New("odd"),
		"url": errors.New("get http://user:hunter2@host: EOF"), "teapot": echo.NewHTTPError(http.StatusTeapot, "short"),
	} {
		g.GET("/"+name, func(echo.Context) error { return err })
	}
}

func startServer(t *testing.T, listen string, parts map[string]any) (*ops.Server, string) {
	t.Helper()
	return start(t, ops.Config{Listen: listen, Hosts: []string{"ops.internal"}}, parts)
}

func start(t *testing.T, cfg ops.Config, parts map[string]any) (*ops.Server, string) {
	t.Helper()
	s, err := ops.New(t.Context(), cfg, ops.Deps{
		Logger: slog.New(slog.DiscardHandler), Version: "v1",
		Metrics: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "figures") }),
	})
	if err != nil {
		t.Fatal(err)
	}
	for name, p := range parts {
		s.Add(name, p)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	end := sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run = %v", err)
		}
	})
	stops.Store(s, end)
	t.Cleanup(end)
	return s, "http://" + s.Addr().String()
}

// stops has what ends a server of start.
var stops sync.Map

func stop(t *testing.T, s *ops.Server) {
	t.Helper()
	end, _ := stops.Load(s)
	end.(func())()
}

func get(t *testing.T, url string) (status int, contentType, body string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, resp.Header.Get("Content-Type"), string(b)
}

func TestEndpoints(t *testing.T) {
	part := &fakePart{}
	s, base := startServer(t, "127.0.0.1:0", map[string]any{"worker": part})
	for path, want := range map[string]struct {
		status int
		body   string
	}{
		"/healthz":             {200, `"version":"v1"`},
		"/readyz":              {200, `{"status":"ready","parts":[{"name":"worker","ready":true}]}`},
		"/metrics":             {200, "figures"},
		"/v1/fine":             {200, `{"n":1}`},
		"/v1/missing":          {404, `"detail":"tunnel 7: not found"`},
		"/v1/conflict":         {409, `"status":409`},
		"/v1/fenced":           {409, `"status":409`},
		"/v1/away":             {503, `"status":503`},
		"/v1/draining":         {503, `"status":503`},
		"/v1/noaddr":           {503, `"status":503`},
		"/v1/odd":              {500, `"detail":"odd"`},
		"/v1/teapot":           {418, `"detail":"short"`},
		"/nowhere":             {404, `"title":"Not Found"`},
		"/debug/pprof/":        {200, "goroutine"},
		"/debug/pprof/cmdline": {403, "not shown"},
		"/debug/pprof/heap":    {200, ""},
	} {
		status, contentType, body := get(t, base+path)
		if status != want.status || !strings.Contains(body, want.body) {
			t.Errorf("GET %s = %d %s, want %d with %s", path, status, body, want.status, want.body)
		}
		if status >= 400 && contentType != "application/problem+json" {
			t.Errorf("GET %s: content type %q", path, contentType)
		}
	}
	part.err = errors.New("no lease yet")
	if status, _, body := get(t, base+"/readyz"); status != 503 || !strings.Contains(body, `"reason":"no lease yet"`) {
		t.Errorf("not ready: %d %s", status, body)
	}
	part.err = nil
	s.SetStopping()
	if status, _, body := get(t, base+"/readyz"); status != 503 || !strings.Contains(body, `"stopping"`) {
		t.Errorf("stopping: %d %s", status, body)
	}
}

// getAs sends a GET with a Host and, unless it is empty, an Authorization of its own.
func getAs(t *testing.T, url, host, authorization string) int {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	req.Host = host
	if authorization != "" {
		req.Header.Set("Authorization", authorization)
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	return resp.StatusCode
}

func TestForeignHostIsRefused(t *testing.T) {
	_, base := startServer(t, "127.0.0.1:0", nil)
	for host, want := range map[string]int{
		"localhost": 200, "LOCALHOST:1": 200, "a.localhost": 200, "localhost.": 200, "127.0.0.1": 200, "192.0.2.1:80": 200, "[::1]": 200,
		"[2001:db8::1]:80": 200, "ops.internal": 200, "Ops.Internal:8101": 200,
		"evil": 403, "evil.example:8101": 403, "127.0.0.1.evil.example": 403, "localhost.evil.example": 403, "xops.internal": 403,
	} {
		for _, path := range []string{"/healthz", "/metrics", "/debug/pprof/"} {
			if got := getAs(t, base+path, host, ""); got != want {
				t.Errorf("GET %s with Host %q = %d, want %d", path, host, got, want)
			}
		}
	}
}

func TestAnyHostIsAllowed(t *testing.T) {
	next := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })
	for host, names := range map[string][]string{"connector:2000": {ops.AnyHost}, "other": {"name", "*"}} {
		req := httptest.NewRequest(http.MethodGet, "/metrics", http.NoBody)
		req.Host = host
		rec := httptest.NewRecorder()
		ops.HostGuard(names, next).ServeHTTP(rec, req)
		if rec.Code != http.StatusNoContent {
			t.Errorf("Host %q with %v = %d", host, names, rec.Code)
		}
	}
}

func TestProfilesNeedTheToken(t *testing.T) {
	file := filepath.Join(t.TempDir(), "token")
	writeToken := func(token string) {
		if err := os.WriteFile(file, []byte(token+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	writeToken("first-token")
	s, _ := start(t, ops.Config{Listen: "0.0.0.0:0", TokenFile: file}, nil)
	url := fmt.Sprintf("http://127.0.0.1:%d/debug/pprof/", s.Addr().Port())
	expect := func(authorization string, want int) {
		t.Helper()
		if got := getAs(t, url, "localhost", authorization); got != want {
			t.Errorf("profiles with %q = %d, want %d", authorization, got, want)
		}
	}
	expect("", http.StatusUnauthorized)
	expect("first-token", http.StatusUnauthorized)
	expect("Bearer other", http.StatusUnauthorized)
	expect("Bearer first-token", http.StatusOK)
	writeToken("second-token")
	expect("Bearer first-token", http.StatusUnauthorized)
	expect("Bearer second-token", http.StatusOK)
	writeToken("")
	expect("Bearer ", http.StatusUnauthorized)
}

func TestProblemCarriesNoPassword(t *testing.T) {
	_, base := startServer(t, "127.0.0.1:0", map[string]any{"part": &fakePart{err: errors.New("dial http://user:hunter2@host: refused")}})
	for _, path := range []string{"/v1/url", "/readyz"} {
		if _, _, body := get(t, base+path); strings.Contains(body, "hunter2") || !strings.Contains(body, "user:***@host") {
			t.Errorf("GET %s = %s", path, body)
		}
	}
}

func TestPublicListenerHasNoProfiles(t *testing.T) {
	s, _ := startServer(t, "0.0.0.0:0", nil)
	url := fmt.Sprintf("http://127.0.0.1:%d/debug/pprof/", s.Addr().Port())
	if status, _, _ := get(t, url); status != http.StatusNotFound {
		t.Errorf("profiles on a public listener: status %d", status)
	}
}

// TestLocalProfiles opens a listener to all hosts and its profiles to this one.
func TestLocalProfiles(t *testing.T) {
	for peer, hosts := range map[string]map[string]int{
		"127.0.0.1:4711":   {"localhost:1": 200, "127.0.0.1": 200, "connector": 403, "evil.example": 403},
		"[::1]:4711":       {"[::1]:2000": 200},
		"192.0.2.1:4711":   {"localhost": 403, "192.0.2.2": 403},
		"[2001:db8::1]:80": {"localhost": 403},
	} {
		for host, want := range hosts {
			if got := localProfile(t, peer, host, ""); got != want {
				t.Errorf("profile for %s with Host %s = %d, want %d", peer, host, got, want)
			}
		}
	}
	for site, want := range map[string]int{"cross-site": 403, "same-site": 403, "same-origin": 200, "none": 200} {
		if got := localProfile(t, "127.0.0.1:1", "localhost", site); got != want {
			t.Errorf("profile for a request from %s = %d, want %d", site, got, want)
		}
	}
}

func localProfile(t *testing.T, peer, host, site string) int {
	t.Helper()
	s, err := ops.New(t.Context(), ops.Config{Listen: "0.0.0.0:0", Hosts: []string{ops.AnyHost}}, ops.Deps{
		Logger: slog.New(slog.DiscardHandler), LocalProfiles: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	req := httptest.NewRequest(http.MethodGet, "/debug/pprof/symbol", http.NoBody)
	req.RemoteAddr, req.Host = peer, host
	if site != "" {
		req.Header.Set("Sec-Fetch-Site", site)
	}
	w := httptest.NewRecorder()
	ops.HandlerOf(s).ServeHTTP(w, req)
	return w.Code
}

// TestLongProfile asks for a trace that takes longer than a response may: its write deadline must move behind its end.
func TestLongProfile(t *testing.T) {
	s, err := ops.New(t.Context(), ops.Config{Listen: "127.0.0.1:0"}, ops.Deps{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	ctx, cancel := context.WithCancel(context.WithValue(t.Context(), http.ServerContextKey, &http.Server{WriteTimeout: time.Second}))
	defer cancel()
	req := httptest.NewRequestWithContext(ctx, http.MethodGet, "http://127.0.0.1/debug/pprof/trace?seconds=3600", http.NoBody)
	w := &deadlineRecorder{ResponseRecorder: httptest.NewRecorder(), moved: cancel} // nobody waits an hour for the trace
	start := time.Now()
	ops.HandlerOf(s).ServeHTTP(w, req)
	if w.Code != http.StatusOK || w.Body.Len() == 0 {
		t.Errorf("trace = %d with %d bytes", w.Code, w.Body.Len())
	}
	if got := w.deadline.Sub(start); got < time.Hour {
		t.Errorf("the response may take %v, less than the trace", got)
	}
}

// deadlineRecorder records the write deadline of a response, too.
type deadlineRecorder struct {
	*httptest.ResponseRecorder

	deadline time.Time
	moved    func()
}

// SetWriteDeadline is what http.ResponseController calls.
func (r *deadlineRecorder) SetWriteDeadline(at time.Time) error {
	r.deadline = at
	r.moved()
	return nil
}

func TestHead(t *testing.T) {
	_, base := startServer(t, "127.0.0.1:0", nil)
	for _, path := range []string{"/healthz", "/readyz", "/metrics"} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodHead, base+path, http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(req)
		if err != nil {
			t.Fatal(err)
		}
		if err := resp.Body.Close(); err != nil || resp.StatusCode != http.StatusOK {
			t.Errorf("HEAD %s = %d, %v", path, resp.StatusCode, err)
		}
	}
}

func TestPortTaken(t *testing.T) {
	s, _ := startServer(t, "127.0.0.1:0", nil)
	_, err := ops.New(t.Context(), ops.Config{Listen: s.Addr().String()}, ops.Deps{Logger: slog.New(slog.DiscardHandler)})
	if err == nil || !strings.Contains(err.Error(), "ops listener") || !strings.Contains(err.Error(), s.Addr().String()) {
		t.Errorf("New on a taken port = %v", err)
	}
}

// TestUnspecifiedIPv4 checks that 0.0.0.0 accepts no IPv6: by itself Go would take it as [::].
func TestUnspecifiedIPv4(t *testing.T) {
	s, _ := startServer(t, "0.0.0.0:0", nil)
	for host, accepted := range map[string]bool{"127.0.0.1": true, "::1": false} {
		c, err := new(net.Dialer).DialContext(t.Context(), "tcp", net.JoinHostPort(host, strconv.Itoa(int(s.Addr().Port()))))
		if (err == nil) != accepted {
			t.Errorf("at %s: %v", host, err)
		}
		if err == nil {
			_ = c.Close()
		}
	}
}

func TestNoListener(t *testing.T) {
	s, _ := startServer(t, "", nil)
	if s.Addr().IsValid() {
		t.Errorf("Addr = %v", s.Addr())
	}
	if err := (ops.Config{Listen: "nonsense"}).Validate(); err == nil {
		t.Error("address without a port accepted")
	}
}
