package discovery_test

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/labstack/echo/v4"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/culvert-tunnel/culvert/pkg/control/retain"
	"github.com/culvert-tunnel/culvert/pkg/edgepool"
	"github.com/culvert-tunnel/culvert/pkg/lease"
	"github.com/culvert-tunnel/culvert/pkg/redisstore"
	"github.com/culvert-tunnel/culvert/pkg/redisstore/storetest"
	"github.com/culvert-tunnel/culvert/pkg/testkit"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
	"github.com/culvert-tunnel/culvert/services/discovery"
	"github.com/culvert-tunnel/culvert/services/discovery/internal/dnstest"
)

func TestMain(m *testing.M) { storetest.VerifyMain(m) }

var zone = []string{
	"_v2-origintunneld._tcp.edge.test. 60 IN SRV 1 1 7844 region1.v2.edge.test.",
	"_v2-origintunneld._tcp.edge.test. 60 IN SRV 2 1 7844 region2.v2.edge.test.",
	"region1.v2.edge.test. 60 IN A 192.0.2.1",
	"region2.v2.edge.test. 60 IN A 192.0.2.2",
	`protocol-v2.edge.test. 60 IN TXT "[{\"protocol\":\"quic\",\"percentage\":100}]"`,
	`cfd-features.edge.test. 60 IN TXT "{\"dv3_2\":30}"`,
}

func openStore(t *testing.T) *redisstore.Store {
	t.Helper()
	s, err := redisstore.OpenEmbedded(t.Context(), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return s
}

func config(dns *dnstest.Server) discovery.Config {
	cfg := discovery.Default()
	cfg.SRV.Domain = "edge.test"
	cfg.Resolver = dns.Addr
	cfg.DoT.Addr, cfg.DoT.ServerName, cfg.DoT.CAFile = dns.DoTAddr, dnstest.ServerName, dns.CAFile
	cfg.Refresh = 5 * time.Millisecond
	return cfg
}

// start runs a replica; stop ends it and waits. The test's end does too.
func start(t *testing.T, cfg discovery.Config, store discovery.Store) (s *discovery.Service, stop func()) {
	t.Helper()
	return startLogged(t, cfg, store, slog.New(slog.DiscardHandler))
}

func startLogged(t *testing.T, cfg discovery.Config, store discovery.Store, logger *slog.Logger) (s *discovery.Service, stop func()) {
	t.Helper()
	s, err := discovery.New(cfg, discovery.Deps{Store: store, Logger: logger, Registerer: prometheus.NewRegistry()})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := s.Run(ctx); err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	stop = func() { cancel(); wg.Wait() }
	t.Cleanup(stop)
	return s, stop
}

// lines collects log lines.
type lines struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

type shown struct {
	Leading   bool           `json:"leading"`
	Leader    string         `json:"leader"`
	Pool      *edgepool.Pool `json:"pool"`
	Stale     bool           `json:"stale"`
	LastError string         `json:"last_error"`
}

func show(t *testing.T, s *discovery.Service) shown {
	t.Helper()
	e := echo.New()
	s.Routes(e.Group("/v1"))
	rec := httptest.NewRecorder()
	e.ServeHTTP(rec, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/v1/pool", nil))
	var v shown
	if err := json.Unmarshal(rec.Body.Bytes(), &v); err != nil || rec.Code != http.StatusOK {
		t.Fatalf("GET /v1/pool: %d %s: %v", rec.Code, rec.Body, err)
	}
	return v
}

func TestPublish(t *testing.T) {
	dns, store := dnstest.Start(t, zone...), openStore(t)
	wake := store.Watch(t.Context(), lease.TopicPools)
	s, stop := start(t, config(dns), store)
	testkit.Eventually(t, "ready", func() bool { return s.Ready() == nil })
	<-wake
	pool, err := store.Pool(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	if pool.Source != edgepool.SourceSRV || pool.UsableRegions() != 2 || pool.FetchedAt.IsZero() ||
		pool.ProtocolTXT != `[{"protocol":"quic","percentage":100}]` || pool.FeatureTXT != `{"dv3_2":30}` {
		t.Errorf("pool: got %+v", pool)
	}
	v := show(t, s)
	if !v.Leading || v.Leader == "" || v.Pool == nil || v.Pool.Count(edgepool.Any) != 2 || v.Stale || v.LastError != "" {
		t.Errorf("state: got %+v", v)
	}
	testkit.Eventually(t, "a refresh", func() bool {
		again, err := store.Pool(t.Context(), "")
		return err == nil && again.Version > pool.Version
	})

	stop()
	if leader, err := store.Leader(t.Context(), "discovery:"); leader != "" || err != nil {
		t.Errorf("leader after the stop: got %q, %v", leader, err)
	}
}

// A failed lookup never replaces a good pool; a later good lookup does.
func TestGoodPoolStays(t *testing.T) {
	dns, store := dnstest.Start(t, zone...), openStore(t)
	s, _ := start(t, config(dns), store)
	testkit.Eventually(t, "ready", func() bool { return s.Ready() == nil })
	for name, spoil := range map[string]func(){
		"empty":      func() { dns.Set(t) },
		"one region": func() { dns.Set(t, zone[:3]...) },
		"failing":    func() { dns.Break("udp", true); dns.Break("dot", true) },
	} {
		spoil()
		testkit.Eventually(t, name+": noticed", func() bool { return show(t, s).Stale })
		if pool, err := store.Pool(t.Context(), ""); err != nil || pool.UsableRegions() != 2 {
			t.Errorf("%s: pool: got %+v, %v, want the good one", name, pool, err)
		}
		if err := s.Ready(); err != nil {
			t.Errorf("%s: Ready: %v, want the last good pool to do", name, err)
		}
		dns.Break("udp", false)
		dns.Break("dot", false)
		s.NetworkChanged() // servers that failed often are tried again
		dns.Set(t, append(zone[:4:4], "region2.v2.edge.test. 60 IN A 192.0.2.33")...)
		testkit.Eventually(t, name+": recovered", func() bool {
			pool, err := store.Pool(t.Context(), "")
			return err == nil && pool.Count(edgepool.Any) == 3 && !show(t, s).Stale
		})

		// The records that are gone now stay as they were read.
		if pool, _ := store.Pool(t.Context(), ""); pool.ProtocolTXT == "" || pool.FeatureTXT == "" {
			t.Errorf("%s: the TXT records were lost: %+v", name, pool)
		}
		dns.Set(t, zone...)
		testkit.Eventually(t, name+": back to the start", func() bool {
			pool, err := store.Pool(t.Context(), "")
			return err == nil && pool.Count(edgepool.Any) == 2
		})

	}
}

func TestDNSDeadAtStart(t *testing.T) {
	dns, store := dnstest.Start(t, zone...), openStore(t)
	dns.Break("udp", true)
	dns.Break("dot", true)
	s, _ := start(t, config(dns), store)
	testkit.Eventually(t, "the reason shows", func() bool {
		err := s.Ready()
		return err != nil && strings.Contains(err.Error(), "SERVFAIL")
	})

	dns.Break("dot", false)
	s.NetworkChanged()
	testkit.Eventually(t, "ready over TLS", func() bool { return s.Ready() == nil })
	if v := show(t, s); v.Pool == nil || v.Pool.Source != edgepool.SourceDoT {
		t.Errorf("state: got %+v, want a pool over TLS", v)
	}
}

// Two replicas in fake time: one publishes, and the other takes over when it stops.
func TestReplicas(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := openStore(t)
		cfg := discovery.Default()
		cfg.Static = []string{"192.0.2.1:7844", "192.0.2.2:7844"}
		first, stopFirst := start(t, cfg, store)
		synctest.Wait()
		second, stopSecond := start(t, cfg, store)
		synctest.Wait()
		if a, b := show(t, first), show(t, second); !a.Leading || b.Leading || a.Leader != b.Leader {
			t.Errorf("got %+v and %+v, want the first to lead", a, b)
		}
		if first.Ready() != nil || second.Ready() != nil {
			t.Errorf("Ready: got %v, %v", first.Ready(), second.Ready())
		}
		before := show(t, second).Pool.Version
		stopFirst()
		advance(t, lease.LeaseTTL)
		if v := show(t, second); !v.Leading || v.Pool.Version <= before {
			t.Errorf("after the first stopped: got %+v, want the second to have published over version %d", v, before)
		}
		stopSecond()
	})
}

// advance lets fake time pass.
func advance(t *testing.T, d time.Duration) {
	t.Helper()
	timer := time.NewTimer(d)
	defer timer.Stop()
	<-timer.C
	synctest.Wait()
}

// switchedStore is a store that can be switched off.
type switchedStore struct {
	*redisstore.Store
	mu   sync.Mutex
	gone bool
}

func (a *switchedStore) set(gone bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.gone = gone
}

func (a *switchedStore) TakeLead(ctx context.Context, role, holder string, ttl time.Duration) (bool, error) {
	a.mu.Lock()
	gone := a.gone
	a.mu.Unlock()
	if gone {
		return false, tunnel.ErrUnavailable
	}
	return a.Store.TakeLead(ctx, role, holder, ttl)
}

func TestStoreAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &switchedStore{Store: openStore(t), gone: true}
		cfg := discovery.Default()
		cfg.Static = []string{"192.0.2.1:7844"}
		s, stop := start(t, cfg, store)
		synctest.Wait()
		if err := s.Ready(); !errors.Is(err, tunnel.ErrUnavailable) {
			t.Errorf("Ready without a store: got %v", err)
		}
		store.set(false)
		advance(t, 2*time.Second)
		if err := s.Ready(); err != nil {
			t.Errorf("Ready with the store back: got %v", err)
		}
		store.set(true)
		advance(t, 2*lease.LeaseTTL)
		if err := s.Ready(); !errors.Is(err, tunnel.ErrUnavailable) {
			t.Errorf("Ready with the store gone: got %v", err)
		}
		stop()
	})
}

func TestConfig(t *testing.T) {
	if err := discovery.Default().Validate(); err != nil {
		t.Errorf("Default: %v", err)
	}
	bad := discovery.Config{Static: []string{"a"}, SRV: discovery.SRV{Region: "a.b"}, Resolver: "r", DoT: discovery.DoT{Addr: "x"}}
	err := bad.Validate()
	if err == nil {
		t.Fatal("a bad configuration is valid")
	}
	for _, want := range []string{
		"static[0]:", "srv: region:", "resolver:", "dot: addr:", "dot: server_name:", "private_addresses:", "refresh:", "timeout:",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("Validate: got %v, want %q in it", err, want)
		}
	}
	if err := (discovery.Config{}).Validate(); err == nil || !strings.Contains(err.Error(), "srv: domain: empty") {
		t.Errorf("Validate of nothing: got %v", err)
	}
	if _, err := discovery.New(bad, discovery.Deps{}); err == nil {
		t.Error("New took a bad configuration")
	}
	missing := discovery.Default()
	missing.DoT.CAFile = "testdata/none.pem"
	if _, err := discovery.New(missing, discovery.Deps{}); err == nil || !strings.Contains(err.Error(), "ca_file") {
		t.Errorf("New with a missing CA file: got %v", err)
	}
}

// What an operator lists replaces any pool, also by fewer addresses.
func TestStaticListReplacesPool(t *testing.T) {
	dns, store := dnstest.Start(t, zone...), openStore(t)
	first, stop := start(t, config(dns), store)
	testkit.Eventually(t, "a pool from DNS", func() bool { return first.Ready() == nil })
	stop()
	cfg := config(dns)
	cfg.Static = []string{"192.0.2.7:7844"}
	start(t, cfg, store)
	testkit.Eventually(t, "the operator's address alone", func() bool {
		pool, err := store.Pool(t.Context(), "")
		return err == nil && pool.Source == edgepool.SourceStatic && pool.Count(edgepool.Any) == 1
	})
}

// A hint makes the leader look at once, long before the refresh.
func TestLookupOnDemand(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := openStore(t)
		cfg := discovery.Default()
		cfg.Static = []string{"192.0.2.1:7844"}
		s, stop := start(t, cfg, store)
		synctest.Wait()
		before := show(t, s).Pool.Version
		advance(t, time.Minute)
		if v := show(t, s).Pool.Version; v != before {
			t.Errorf("without a hint: version %d after %d within the refresh", v, before)
		}
		if err := store.Hint(t.Context(), retain.AskLookup(cfg.Name).Topic); err != nil {
			t.Errorf("Hint: %v", err)
		}
		advance(t, time.Second)
		after := show(t, s).Pool.Version
		if after <= before {
			t.Errorf("a second after a hint: version %d, want a later one than %d", after, before)
		}
		if err := store.Hint(t.Context(), retain.AskLookup(cfg.Name).Topic); err != nil {
			t.Errorf("Hint: %v", err)
		}
		advance(t, time.Second)
		if v := show(t, s).Pool.Version; v != after {
			t.Errorf("a second hint within 10 s: version %d, want %d still", v, after)
		}
		stop()
	})
}
