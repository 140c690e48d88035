package proxy_test

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/labstack/echo/v4"
	"go.uber.org/goleak"

	"github.com/culvert-tunnel/culvert/pkg/fleet"
	"github.com/culvert-tunnel/culvert/pkg/ingress"
	"github.com/culvert-tunnel/culvert/pkg/lease"
	"github.com/culvert-tunnel/culvert/pkg/link"
	"github.com/culvert-tunnel/culvert/pkg/testkit"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
	"github.com/culvert-tunnel/culvert/pkg/wire/stream"
	"github.com/culvert-tunnel/culvert/services/proxy"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fakeStore keeps registrations in memory.
type fakeStore struct {
	proxy.Store // for log streams, which the tests with it do not open

	mu      sync.Mutex
	records map[tunnel.ProxyID]fleet.Proxy
	history []fleet.Proxy
	hints   []string
	away    bool
}

func (s *fakeStore) PutProxy(_ context.Context, p fleet.Proxy, ttl time.Duration) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.away || ttl != lease.ProxyTTL {
		return tunnel.ErrUnavailable
	}
	if s.records == nil {
		s.records = map[tunnel.ProxyID]fleet.Proxy{}
	}
	s.records[p.ID] = p
	s.history = append(s.history, p)
	return nil
}

func (s *fakeStore) RemoveProxy(_ context.Context, id tunnel.ProxyID) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.records, id)
	if s.away {
		return tunnel.ErrUnavailable
	}
	return nil
}

func (s *fakeStore) Hint(_ context.Context, topic string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hints = append(s.hints, topic)
	return nil
}

func (s *fakeStore) get(id tunnel.ProxyID) (fleet.Proxy, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p, ok := s.records[id]
	return p, ok
}

func (s *fakeStore) setAway(away bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.away = away
}

// edgeStream is the edge's end of a flow: it sends nothing after the head and keeps what comes back.
type edgeStream struct {
	ctx      context.Context //nolint:containedctx // the interface asks for it
	mu       sync.Mutex
	response []byte
	fin      bool
	reset    bool
	wrote    chan struct{} // closed with the first byte of the response
}

func newEdgeStream(ctx context.Context) *edgeStream {
	return &edgeStream{ctx: ctx, wrote: make(chan struct{})}
}

func (*edgeStream) Read([]byte) (int, error) { return 0, io.EOF }

func (s *edgeStream) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.response) == 0 {
		close(s.wrote)
	}
	s.response = append(s.response, p...)
	return len(p), nil
}

func (s *edgeStream) CloseWrite() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fin = true
	return nil
}

func (*edgeStream) CancelRead(uint64) {}

func (s *edgeStream) CancelWrite(uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reset = true
}

func (s *edgeStream) Context() context.Context { return s.ctx }

// ask carries one GET and gives status and body.
func ask(t *testing.T, c link.Carrier, target string) (status, body string) {
	t.Helper()
	s := newEdgeStream(t.Context())
	carry(t, c, s, target)
	return s.result(t)
}

func carry(t *testing.T, c link.Carrier, s *edgeStream, target string) {
	t.Helper()
	r := stream.Request{Dest: "https://app.example.com" + target, Metadata: []stream.Pair{
		{Key: stream.KeyMethod, Val: "GET"}, {Key: stream.KeyHost, Val: "app.example.com"},
	}}
	head, err := r.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Carry(t.Context(), link.Flow{Stream: s, First: head, EOF: true}); err != nil {
		t.Errorf("Carry(%s): %v", target, err)
	}
}

func (s *edgeStream) result(t *testing.T) (status, body string) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	var r stream.Response
	n, err := stream.ParseResponse(s.response, &r)
	if err != nil || !s.fin || s.reset {
		t.Fatalf("response: %v, fin %v, reset %v", err, s.fin, s.reset)
	}
	return r.Metadata[0].Val, string(s.response[n:])
}

// running is a service under test.
type running struct {
	t      *testing.T
	svc    *proxy.Service
	cancel context.CancelFunc
	done   chan error
}

func run(t *testing.T, cfg proxy.Config, deps proxy.Deps) *running {
	t.Helper()
	if deps.Logger == nil {
		deps.Logger = slog.New(slog.DiscardHandler)
	}
	svc, err := proxy.New(cfg, deps)
	if err != nil {
		t.Fatalf("New: %v", err)
	}
	if err := svc.Ready(); err == nil {
		t.Error("ready before Run")
	}
	ctx, cancel := context.WithCancel(t.Context())
	r := &running{t: t, svc: svc, cancel: cancel, done: make(chan error, 1)}
	go func() { r.done <- svc.Run(ctx) }()
	testkit.Eventually(t, "ready", func() bool { return svc.Ready() == nil })
	return r
}

func (r *running) stop() {
	r.t.Helper()
	r.cancel()
	if err := testkit.Receive(r.t, "the result of Run", r.done); err != nil {
		r.t.Errorf("Run: %v", err)
	}
	if err := r.svc.Ready(); err == nil {
		r.t.Error("ready after the stop")
	}
}

func helloRules(t *testing.T) *ingress.Set {
	t.Helper()
	set, err := ingress.Compile(ingress.Document{Ingress: []ingress.RuleSpec{{Service: "hello_world"}}})
	if err != nil {
		t.Fatal(err)
	}
	return set
}

func TestDirect(t *testing.T) {
	r := run(t, proxy.Default(), proxy.Deps{Rules: helloRules(t), Store: &fakeStore{}})
	if status, body := ask(t, link.NewDirect(r.svc.Handler()), "/_health"); status != "200" || body != "ok\n" {
		t.Errorf("response: %s %q", status, body)
	}
	r.stop()
}

func TestLinksAndRegistration(t *testing.T) {
	dir := t.TempDir()
	pki := filepath.Join(dir, "pki")
	if err := link.WriteTLS(pki); err != nil {
		t.Fatal(err)
	}
	_, client, err := link.LoadTLS(pki, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, listen := range []string{"unix:" + filepath.Join(dir, "p.sock"), "tcp:127.0.0.1:0"} {
		t.Run(listen[:4], func(t *testing.T) {
			store := &fakeStore{}
			cfg := proxy.Default()
			cfg.ID, cfg.Listen, cfg.TLSDir = "p1", []string{listen}, pki
			r := run(t, cfg, proxy.Deps{Rules: helloRules(t), Store: store, Version: "v1"})
			testkit.Eventually(t, "registered", func() bool { _, ok := store.get("p1"); return ok })
			rec, _ := store.get("p1")
			endpoint := r.svc.Endpoints()[0]
			if rec.Endpoint != endpoint.String() || rec.Version != "v1" || rec.Draining {
				t.Errorf("record %+v, want endpoint %s", rec, endpoint)
			}
			b := link.NewBalancer(link.BalancerConfig{TLS: client, Logger: slog.New(slog.DiscardHandler)})
			b.SetProxies([]link.Proxy{{ID: "p1", Endpoint: endpoint}})
			for range 3 {
				if status, body := ask(t, b, "/_health"); status != "200" || body != "ok\n" {
					t.Errorf("response: %s %q", status, body)
				}
			}
			r.stop()
			if err := b.Close(); err != nil {
				t.Errorf("Close: %v", err)
			}
			if _, ok := store.get("p1"); ok {
				t.Error("record left behind")
			}
			if last := store.history[len(store.history)-1]; !last.Draining {
				t.Errorf("last record %+v, want it draining", last)
			}
			if store.hints[0] != lease.TopicFleet {
				t.Errorf("hints %v", store.hints)
			}
		})
	}
}

func TestDrainFinishesRunningFlows(t *testing.T) {
	release := make(chan struct{})
	origin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, "first ")
		w.(http.Flusher).Flush()
		<-release
		_, _ = io.WriteString(w, "last")
	}))
	defer origin.Close()
	set, err := ingress.Compile(ingress.Document{Ingress: []ingress.RuleSpec{{Service: origin.URL}}})
	if err != nil {
		t.Fatal(err)
	}
	cfg := proxy.Default()
	cfg.Listen = []string{"unix:" + filepath.Join(t.TempDir(), "p.sock")}
	r := run(t, cfg, proxy.Deps{Rules: set})
	b := link.NewBalancer(link.BalancerConfig{Logger: slog.New(slog.DiscardHandler)})
	defer b.Close()
	b.SetProxies([]link.Proxy{{ID: "p", Endpoint: r.svc.Endpoints()[0]}})
	s := newEdgeStream(t.Context())
	carried := make(chan struct{})
	go func() {
		defer close(carried)
		carry(t, b, s, "/")
	}()
	<-s.wrote
	r.cancel()
	testkit.Eventually(t, "draining", func() bool { return r.svc.Ready() != nil })
	close(release)
	<-carried
	if status, body := s.result(t); status != "200" || body != "first last" {
		t.Errorf("response: %s %q", status, body)
	}
	r.stop()
}

func TestStoreAwayIsNoReasonToStop(t *testing.T) {
	store := &fakeStore{away: true}
	cfg := proxy.Default()
	cfg.ID, cfg.Listen = "p1", []string{"unix:" + filepath.Join(t.TempDir(), "p.sock")}
	r := run(t, cfg, proxy.Deps{Rules: helloRules(t), Store: store})
	b := link.NewBalancer(link.BalancerConfig{Logger: slog.New(slog.DiscardHandler)})
	defer b.Close()
	b.SetProxies([]link.Proxy{{ID: "p1", Endpoint: r.svc.Endpoints()[0]}})
	if status, _ := ask(t, b, "/"); status != "200" {
		t.Errorf("status %s while the store is away", status)
	}
	store.setAway(false)
	testkit.Eventually(t, "registered", func() bool { _, ok := store.get("p1"); return ok })
	r.stop()
}

func TestRulesFromConfiguration(t *testing.T) {
	dir := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	for _, tc := range []struct {
		name   string
		change func(*proxy.Config)
		status string // of a request, or
		err    string // part of New's error
	}{
		{"nothing", func(*proxy.Config) {}, "503", ""},
		{"file", func(c *proxy.Config) { c.ConfigFile = file("a.yml", "ingress: [{service: 'http_status:204'}]\n") }, "204", ""},
		{"single origin", func(c *proxy.Config) { c.Origin.HelloWorld = true }, "200", ""},
		{"file with a top-level flag", func(c *proxy.Config) { c.ConfigFile = file("b.yml", "hello-world: true\n") }, "200", ""},
		{"no file", func(c *proxy.Config) { c.ConfigFile = filepath.Join(dir, "none.yml") }, "", "none.yml"},
		{"no catch-all", func(c *proxy.Config) {
			c.ConfigFile = file("c.yml", "ingress: [{hostname: a.test, service: 'http_status:204'}]\n")
		}, "", "The last ingress rule must match all URLs"},
		{"broken YAML", func(c *proxy.Config) { c.ConfigFile = file("d.yml", "ingress:\n  - {service: [\n") }, "", "d.yml"},
		{"bad origin", func(c *proxy.Config) { c.Origin.URL = "ftp://x" }, "", "origin: "},
		{"bad settings", func(c *proxy.Config) {
			c.Listen, c.Advertise, c.Tags, c.SpoolLimit = []string{"tcp:x:1", "y"}, "z", []string{"a"}, -1
		}, "", "spool_limit: -1 is negative"},
		{"missing link certificates", func(c *proxy.Config) {
			c.Listen, c.TLSDir = []string{"tcp:127.0.0.1:0"}, dir
		}, "", "tls_dir: "},
		{"endpoint that cannot be opened", func(c *proxy.Config) {
			c.Listen = []string{"unix:" + filepath.Join(dir, "ok.sock"), "unix:/does/not/exist/p.sock"}
		}, "", "listen on unix:/does/not/exist/p.sock: "},
	} {
		t.Run(tc.name, func(t *testing.T) {
			cfg := proxy.Default()
			tc.change(&cfg)
			svc, err := proxy.New(cfg, proxy.Deps{Logger: slog.New(slog.DiscardHandler)})
			if tc.err != "" {
				if err == nil || !strings.Contains(err.Error(), tc.err) {
					t.Errorf("New: %v, want %q in it", err, tc.err)
				}
				return
			}
			if err != nil {
				t.Fatalf("New: %v", err)
			}
			if status, _ := ask(t, link.NewDirect(svc.Handler()), "/"); status != tc.status {
				t.Errorf("status %s, want %s", status, tc.status)
			}
		})
	}
}

func TestValidateReportsAllProblems(t *testing.T) {
	cfg := proxy.Config{Listen: []string{"tcp:x:1", "y"}, Advertise: "z", Tags: []string{"a"}, SpoolLimit: -1, DrainTimeout: -1}
	cfg.Private.ICMP.SourceV4, cfg.Private.DNS.ResolverAddrs = "x", []string{"y"}
	err := cfg.Validate()
	for _, want := range []string{
		"listen: 1: ", "advertise: ", "tls_dir: ", "tags: 0: ", "spool_limit: ", "drain_timeout: ",
		"udp: max_sessions: ", "udp: queue_bytes: ", "icmp: source_v4: ", "icmp: max_flows: ", "dns: resolver_addrs: 0: ",
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Validate lacks %q: %v", want, err)
		}
	}
	if err := proxy.Default().Validate(); err != nil {
		t.Errorf("Default: %v", err)
	}
}

func TestRoutesShowTheRules(t *testing.T) {
	svc, err := proxy.New(proxy.Default(), proxy.Deps{Logger: slog.New(slog.DiscardHandler), Rules: helloRules(t)})
	if err != nil {
		t.Fatal(err)
	}
	e := echo.New()
	svc.Routes(e.Group("/v1"))
	rec := httptest.NewRecorder()
	e.ServeHTTP(rec, httptest.NewRequest(http.MethodGet, "/v1/proxy", nil))
	if rec.Code != http.StatusOK || !strings.Contains(rec.Body.String(), `"service":"hello_world"`) {
		t.Errorf("GET /v1/proxy: %d %s", rec.Code, rec.Body)
	}
}
