package supervisor

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/labstack/echo/v4"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/culvert-tunnel/culvert/pkg/control/shard"
	"github.com/culvert-tunnel/culvert/pkg/edgepool"
	"github.com/culvert-tunnel/culvert/pkg/fleet"
	"github.com/culvert-tunnel/culvert/pkg/lease"
	"github.com/culvert-tunnel/culvert/pkg/opsapi"
	"github.com/culvert-tunnel/culvert/pkg/redisstore"
	"github.com/culvert-tunnel/culvert/pkg/redisstore/storetest"
	"github.com/culvert-tunnel/culvert/pkg/rules"
	"github.com/culvert-tunnel/culvert/pkg/testkit"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

func TestMain(m *testing.M) { storetest.VerifyMain(m) }

// cutStore is a store that can be taken away where every look begins.
type cutStore struct {
	*redisstore.Store
	cut atomic.Bool
}

func (c *cutStore) TakeShare(
	ctx context.Context, role, member string, seen lease.Term, ttl time.Duration, join bool,
) (lease.Share, error) {
	if c.cut.Load() {
		return lease.Share{}, tunnel.ErrUnavailable
	}
	return c.Store.TakeShare(ctx, role, member, seen, ttl, join)
}

type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) count(text string) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return strings.Count(b.b.String(), text)
}

func (b *buffer) text() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

type lab struct {
	t     *testing.T
	store *redisstore.Store
	log   *buffer
	id    tunnel.ID
}

func newLab(t *testing.T, addresses int) *lab {
	t.Helper()
	l := &lab{t: t, log: &buffer{}, id: tunnel.ID{1}}
	store, err := redisstore.OpenEmbedded(t.Context(), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	l.store = store
	p := edgepool.Pool{Source: edgepool.SourceStatic, Regions: []edgepool.RegionPool{{Name: "region1"}, {Name: "region2"}}}
	for i := range addresses {
		a := netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(i + 1)}), 7844)
		p.Regions[i%2].V4 = append(p.Regions[i%2].V4, a)
	}
	if _, err := store.PublishPool(t.Context(), "", p); err != nil {
		t.Fatal(err)
	}
	return l
}

func (l *lab) start(id string, store Store) *Service {
	l.t.Helper()
	cfg := Default()
	cfg.ID = id
	key, err := rules.NewKey(bytes.Repeat([]byte("k"), rules.MinKey))
	if err != nil {
		l.t.Fatal(err)
	}
	s, err := New(cfg, Deps{
		Store: store, Logger: slog.New(slog.NewTextHandler(l.log, nil)), Registerer: prometheus.NewRegistry(),
		Configurations: l.store, RuleKey: key, Records: l.store,
	})
	if err != nil {
		l.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	l.t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			l.t.Errorf("run: %v", err)
		}
	})
	return s
}

func (l *lab) worker(connections uint8) {
	l.t.Helper()
	w := fleet.Worker{ID: "w1", Host: "h1", Capacity: 10, Tunnels: []fleet.TunnelRef{{ID: l.id, Connections: connections}}}
	if err := l.store.PutWorker(l.t.Context(), w, time.Hour); err != nil {
		l.t.Fatal(err)
	}
	if err := l.store.Hint(l.t.Context(), lease.TopicFleet); err != nil {
		l.t.Fatal(err)
	}
}

func (l *lab) slots() []lease.Record {
	l.t.Helper()
	connector, err := l.store.EnsureConnector(l.t.Context(), l.id, tunnel.ConnectorID{9})
	if err != nil {
		l.t.Fatal(err)
	}
	table, err := l.store.Slots(l.t.Context(), l.id, connector)
	if err != nil {
		l.t.Fatal(err)
	}
	return table.Records
}

// report tells the store how a slot stands, as its worker would.
func (l *lab) report(r lease.Record, s lease.Status) {
	l.t.Helper()
	reports := []lease.Report{{Index: r.Slot.Index, Epoch: r.Epoch, Status: s}}
	_, err := l.store.Renew(l.t.Context(), l.id, r.Slot.Connector, r.Worker, reports, time.Hour)
	if err != nil {
		l.t.Fatal(err)
	}
	if err := l.store.Hint(l.t.Context(), lease.TopicStatus); err != nil {
		l.t.Fatal(err)
	}
}

func TestSupervisorGrants(t *testing.T) {
	l := newLab(t, 8)
	s := l.start("s1", l.store)
	l.worker(0)
	testkit.Eventually(l.t, "index 0 alone is granted", func() bool { return len(l.slots()) == 1 })
	l.report(l.slots()[0], lease.Status{State: lease.StateConnected})
	testkit.Eventually(l.t, "the first connection opens the gate", func() bool { return len(l.slots()) == 4 })
	second := l.slots()[1]
	l.report(second, lease.Status{State: lease.StateFailed, Reason: tunnel.ReasonDial, Retries: 1})
	testkit.Eventually(l.t, "a failed address is replaced", func() bool {
		r := l.slots()[1]
		return r.Epoch > second.Epoch && r.Edge != second.Edge
	})

	l.worker(2)
	testkit.Eventually(l.t, "indices beyond the desired number are released", func() bool {
		r := l.slots()
		return r[2].Worker == "" && r[3].Worker == "" && r[0].Worker == "w1"
	})

	if err := s.Ready(); err != nil {
		t.Errorf("ready: %v", err)
	}
	e := echo.New()
	s.Routes(e.Group("/v1"))
	rec := httptest.NewRecorder()
	e.ServeHTTP(rec, httptest.NewRequest("GET", "/v1/slots", nil))
	var body struct {
		Leading    bool
		Connectors []struct{ Slots []json.RawMessage }
	}
	err := json.Unmarshal(rec.Body.Bytes(), &body)
	if err != nil || !body.Leading || len(body.Connectors) != 1 || len(body.Connectors[0].Slots) != 4 {
		t.Errorf("slots: %s, %v", rec.Body, err)
	}
}

// TestSupervisorsShare: a second supervisor stands by until it knows what an absence means, and then has half of the shards. Both say so.
func TestSupervisorsShare(t *testing.T) {
	l := newLab(t, 8)
	first := l.start("s1", l.store)
	testkit.Eventually(l.t, "the first leads", first.leading)
	second := l.start("s2", l.store)
	testkit.Eventually(l.t, "the second is ready", func() bool { return second.Ready() == nil })
	if second.leading() {
		t.Error("the second leads at once")
	}
	shares := func(s *Service) (list []opsapi.ShardOwner) {
		e := echo.New()
		s.Routes(e.Group("/v1"))
		rec := httptest.NewRecorder()
		e.ServeHTTP(rec, httptest.NewRequest("GET", "/v1/shards", nil))
		var body struct {
			Count  int
			Fresh  bool
			Owners []opsapi.ShardOwner
		}
		if err := json.Unmarshal(rec.Body.Bytes(), &body); err != nil || body.Count != shard.Count || !body.Fresh {
			t.Errorf("shards: %s, %v", rec.Body, err)
		}
		return body.Owners
	}
	for i, s := range []*Service{first, second} {
		testkit.Eventually(l.t, "both have half of the shards", func() bool {
			list := shares(s)
			return len(list) == 2 && list[0].Supervisor == "s1" && list[1].Supervisor == "s2" && len(list[0].Shards) == shard.Count/2 &&
				len(list[1].Shards) == shard.Count/2 && list[i].Self && !list[1-i].Self
		})
	}
	if !first.leading() || !second.leading() {
		t.Error("one of them does not lead")
	}
}

func TestStoreAwayIsToldOnce(t *testing.T) {
	l := newLab(t, 8)
	store := &cutStore{Store: l.store}
	store.cut.Store(true)
	s := l.start("s1", store)
	testkit.Eventually(l.t, "not ready", func() bool { return errors.Is(s.Ready(), errDown) })
	store.cut.Store(false)
	l.worker(1)
	testkit.Eventually(l.t, "ready", func() bool { return s.Ready() == nil })
	testkit.Eventually(l.t, "granted", func() bool { return len(l.slots()) == 1 })
	// It is logged after the state has changed.
	testkit.Eventually(l.t, "logged", func() bool { return l.log.count("control plane is available again") > 0 })
	if down, up := l.log.count("control plane is unavailable"), l.log.count("control plane is available again"); down != 1 || up != 1 {
		t.Errorf("the outage was logged %d times, its end %d times", down, up)
	}
}

func TestShortageIsToldOnce(t *testing.T) {
	l := newLab(t, 2)
	l.start("s1", l.store)
	l.worker(0)
	testkit.Eventually(l.t, "granted", func() bool { return len(l.slots()) == 1 })
	l.report(l.slots()[0], lease.Status{State: lease.StateConnected})
	testkit.Eventually(l.t, "two of four", func() bool { return len(l.slots()) == 2 })
	testkit.Eventually(l.t, "logged", func() bool { return l.log.count("fewer connections than desired") > 0 })
	if n := l.log.count("fewer connections than desired"); n != 1 {
		t.Errorf("logged %d times", n)
	}
}

func TestConfig(t *testing.T) {
	err := Config{Connections: 300}.Validate()
	if err == nil || !strings.Contains(err.Error(), "connections:") || !strings.Contains(err.Error(), "tick:") {
		t.Errorf("got %v", err)
	}
	if _, err := New(Config{}, Deps{Logger: slog.New(slog.DiscardHandler)}); err == nil {
		t.Error("an empty configuration was accepted")
	}
	reg := prometheus.NewRegistry()
	deps := Deps{Logger: slog.New(slog.DiscardHandler), Registerer: reg}
	if _, err := New(Default(), deps); err != nil {
		t.Fatal(err)
	}
	if _, err := New(Default(), deps); err == nil {
		t.Error("metrics were registered twice")
	}
}
