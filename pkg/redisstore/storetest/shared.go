package storetest

import (
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/culvert-tunnel/culvert/pkg/edgepool"
	"github.com/culvert-tunnel/culvert/pkg/fleet"
	"github.com/culvert-tunnel/culvert/pkg/lease"
	"github.com/culvert-tunnel/culvert/pkg/redisstore"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

func region(name string, addrs ...string) edgepool.RegionPool {
	r := edgepool.RegionPool{Name: tunnel.Region(name)}
	for _, a := range addrs {
		r.V4 = append(r.V4, netip.MustParseAddrPort(a))
	}
	return r
}

func testPool(t *testing.T, open func(t *testing.T) *redisstore.Store) {
	s := open(t)
	name := unique(t)
	good := edgepool.Pool{
		Source:      edgepool.SourceSRV,
		FetchedAt:   time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC),
		Regions:     []edgepool.RegionPool{region("r1", "192.0.2.1:7844"), region("r2", "192.0.2.2:7844", "192.0.2.3:7844")},
		ProtocolTXT: `[{"protocol":"quic","percentage":100}]`,
	}
	empty := edgepool.Pool{Source: edgepool.SourceSRV, Regions: []edgepool.RegionPool{region("r1"), region("r2")}}
	oneRegion := edgepool.Pool{Source: edgepool.SourceSRV, Regions: []edgepool.RegionPool{region("r1", "192.0.2.9:7844"), region("r2")}}

	_, err := s.Pool(t.Context(), name)
	wantError(t, "Pool before any was published", err, tunnel.ErrNotFound)
	_, err = s.PublishPool(t.Context(), name, empty)
	wantError(t, "PublishPool of an empty pool over none", err, tunnel.ErrConflict)

	first, err := s.PublishPool(t.Context(), name, oneRegion)
	if err != nil {
		t.Fatalf("PublishPool of one region over none: %v", err)
	}
	second, err := s.PublishPool(t.Context(), name, good)
	if err != nil {
		t.Fatalf("PublishPool: %v", err)
	}
	if second <= first {
		t.Errorf("version %d after %d, want it to grow", second, first)
	}
	_, err = s.PublishPool(t.Context(), name, empty)
	wantError(t, "PublishPool of an empty pool over a good one", err, tunnel.ErrConflict)
	_, err = s.PublishPool(t.Context(), name, oneRegion)
	wantError(t, "PublishPool of one region over a good pool", err, tunnel.ErrConflict)

	// What an operator listed replaces any pool, and is good itself.
	static := oneRegion
	static.Source = edgepool.SourceStatic
	third, err := s.PublishPool(t.Context(), name, static)
	if err != nil || third <= second {
		t.Errorf("PublishPool of one static address over a good pool: version %d after %d, %v", third, second, err)
	}
	_, err = s.PublishPool(t.Context(), name, oneRegion)
	wantError(t, "PublishPool of one region over a static pool", err, tunnel.ErrConflict)
	if second, err = s.PublishPool(t.Context(), name, good); err != nil || second <= third {
		t.Errorf("PublishPool of a good pool over a static one: version %d after %d, %v", second, third, err)
	}

	got, err := s.Pool(t.Context(), name)
	if err != nil {
		t.Fatalf("Pool: %v", err)
	}
	want := good
	want.Version = second
	if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })); diff != "" {
		t.Errorf("Pool (-want +got):\n%s", diff)
	}
}

// testTerms: a term stays while the lead is renewed, and grows in every other case.
func testTerms(t *testing.T, s *redisstore.Store) {
	t.Helper()
	role := unique(t)
	take := func(holder string, seen lease.Term, ttl time.Duration) lease.Lead {
		t.Helper()
		lead, err := s.TakeTerm(t.Context(), role, holder, seen, ttl)
		if err != nil {
			t.Fatalf("TakeTerm(%s): %v", holder, err)
		}
		return lead
	}
	first := take("a", 0, long)
	if !first.Holds || first.Term == 0 || first.Before != 0 || first.Clock <= 0 {
		t.Errorf("first lead: %+v, want a term and none before", first)
	}
	for _, again := range []lease.Lead{take("a", 0, long), take("a", first.Term, long)} {
		if !again.Holds || again.Term != first.Term || again.Before != first.Term || again.Clock < first.Clock {
			t.Errorf("renewed lead: %+v, want term %d", again, first.Term)
		}
	}
	standby := lease.Lead{Term: first.Term, Before: first.Term}
	other := take("b", 0, long)
	if other.Clock, other.Until = 0, 0; other != standby {
		t.Errorf("lead on standby: %+v, want %+v", other, standby)
	}
	seen := first.Term + 1000000
	raised := take("a", seen, short)
	if !raised.Holds || raised.Term <= seen || raised.Before != first.Term {
		t.Errorf("lead of a holder that has seen term %d: %+v, want a higher one", seen, raised)
	}
	testNextTerms(t, s, role, raised, take)
}

// testNextTerms: a lead that ran out, and one that was given up, are followed by higher terms.
func testNextTerms(
	t *testing.T, s *redisstore.Store, role string, raised lease.Lead,
	take func(holder string, seen lease.Term, ttl time.Duration) lease.Lead,
) {
	t.Helper()
	var next lease.Lead
	eventually(t, "b takes the expired lead", func() bool { next = take("b", 0, long); return next.Holds })
	if next.Term <= raised.Term || next.Before != raised.Term {
		t.Errorf("lead of the next holder: %+v, want a term above %d", next, raised.Term)
	}
	if err := s.ResignLead(t.Context(), role, "b"); err != nil {
		t.Fatalf("ResignLead: %v", err)
	}
	if last := take("c", 0, long); !last.Holds || last.Term <= next.Term || last.Before != next.Term {
		t.Errorf("lead after b resigned: %+v, want a term above %d", last, next.Term)
	}
}

func testLead(t *testing.T, open func(t *testing.T) *redisstore.Store) {
	s := open(t)
	role := unique(t)
	take := func(holder string, ttl time.Duration) bool {
		t.Helper()
		leads, err := s.TakeLead(t.Context(), role, holder, ttl)
		if err != nil {
			t.Fatalf("TakeLead(%s): %v", holder, err)
		}
		return leads
	}
	leader := func() string {
		t.Helper()
		holder, err := s.Leader(t.Context(), role)
		if err != nil {
			t.Fatalf("Leader: %v", err)
		}
		return holder
	}
	if got := leader(); got != "" {
		t.Errorf("Leader of a fresh role: got %q, want none", got)
	}
	for _, what := range []string{"take", "renew"} {
		if !take("a", long) {
			t.Fatalf("a did not %s a free lead", what)
		}
	}
	if take("b", long) {
		t.Fatal("b took a's lead")
	}
	if err := s.ResignLead(t.Context(), role, "b"); err != nil {
		t.Fatalf("ResignLead: %v", err)
	}
	if got := leader(); got != "a" {
		t.Errorf("Leader after b resigned what it did not have: got %q, want a", got)
	}
	if err := s.ResignLead(t.Context(), role, "a"); err != nil {
		t.Fatalf("ResignLead: %v", err)
	}
	if !take("b", short) {
		t.Fatal("b did not take the lead that a resigned")
	}
	eventually(t, "a takes the expired lead", func() bool { return take("a", long) })
	testTerms(t, s)
	if got := leader(); got != "a" {
		t.Errorf("Leader: got %q, want a", got)
	}
}

func testRegistry(t *testing.T, open func(t *testing.T) *redisstore.Store) {
	s := open(t)
	w := fleet.Worker{
		ID: tunnel.WorkerID(unique(t)), Host: "h1", Version: "1", Capacity: 4,
		Tunnels: []fleet.TunnelRef{{ID: newTunnel(t), AccountHash: 25, Protocol: tunnel.QUIC, Connections: 4}},
	}
	p := fleet.Proxy{ID: tunnel.ProxyID(w.ID), Host: "h1", Version: "1", Endpoint: "unix:/run/p.sock"}

	worker := func() *fleet.Worker { return listedWorker(t, s, w.ID) }
	proxy := func() *fleet.Proxy { return listedProxy(t, s, p.ID) }
	put := func(ttl time.Duration) {
		t.Helper()
		if err := s.PutWorker(t.Context(), w, ttl); err != nil {
			t.Fatalf("PutWorker: %v", err)
		}
		if err := s.PutProxy(t.Context(), p, ttl); err != nil {
			t.Fatalf("PutProxy: %v", err)
		}
	}
	put(long)
	w.Draining, p.Draining = true, true
	put(long)
	if diff := cmp.Diff(&w, worker()); diff != "" {
		t.Errorf("worker (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(&p, proxy()); diff != "" {
		t.Errorf("proxy (-want +got):\n%s", diff)
	}
	if err := s.RemoveWorker(t.Context(), w.ID, "a"); err != nil {
		t.Fatalf("RemoveWorker: %v", err)
	}
	if err := s.RemoveProxy(t.Context(), p.ID); err != nil {
		t.Fatalf("RemoveProxy: %v", err)
	}
	if worker() != nil || proxy() != nil {
		t.Error("a removed process is listed")
	}
	put(short)
	eventually(t, "registrations expire", func() bool { return worker() == nil && proxy() == nil })
	// A process that comes back is listed again, and its arrival does not end others.
	put(long)
	if worker() == nil || proxy() == nil {
		t.Error("a process that came back is not listed")
	}
	if s.RemoveWorker(t.Context(), w.ID, "") != nil || s.RemoveProxy(t.Context(), p.ID) != nil {
		t.Error("removal failed")
	}
	if err := s.PutWorker(t.Context(), fleet.Worker{}, long); err == nil {
		t.Error("a worker without an id was registered")
	}
}

// listedWorker is the registration of a worker, or nil.
func listedWorker(t *testing.T, s *redisstore.Store, id tunnel.WorkerID) *fleet.Worker {
	t.Helper()
	all, err := s.Workers(t.Context())
	if err != nil {
		t.Fatalf("Workers: %v", err)
	}
	for _, found := range all {
		if found.ID == id {
			return &found
		}
	}
	return nil
}

// listedProxy is the registration of a proxy, or nil.
func listedProxy(t *testing.T, s *redisstore.Store, id tunnel.ProxyID) *fleet.Proxy {
	t.Helper()
	all, err := s.Proxies(t.Context())
	if err != nil {
		t.Fatalf("Proxies: %v", err)
	}
	for _, found := range all {
		if found.ID == id {
			return &found
		}
	}
	return nil
}

func testConnector(t *testing.T, open func(t *testing.T) *redisstore.Store) {
	s := open(t)
	id := newTunnel(t)
	_, err := s.EnsureConnector(t.Context(), id, tunnel.ConnectorID{})
	wantError(t, "EnsureConnector without a candidate", err, tunnel.ErrNotFound)
	first, second := newConnector(t), newConnector(t)
	for _, candidate := range []tunnel.ConnectorID{first, second, {}} {
		got, err := s.EnsureConnector(t.Context(), id, candidate)
		if err != nil || got != first {
			t.Errorf("EnsureConnector(%v): got %v, %v, want %v", candidate, got, err, first)
		}
	}
}

func testWatch(t *testing.T, open func(t *testing.T) *redisstore.Store) {
	s := open(t)
	topic, unrelated := unique(t), unique(t)
	wake := s.Watch(t.Context(), topic, unrelated+"-more")
	eventually(t, "the first subscription fires", func() bool { return received(wake) })
	// A subscription to several topics is confirmed once per topic; what is left of that is not what is tested here.
	for _, hinted := range []string{topic, unrelated + "-more"} {
		eventually(t, "a hint arrives", func() bool {
			if err := s.Hint(t.Context(), hinted); err != nil {
				t.Fatalf("Hint: %v", err)
			}
			return received(wake)
		})
	}
	if err := s.Hint(t.Context(), unrelated); err != nil {
		t.Fatalf("Hint without a watcher: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Errorf("Close with a running watch: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Errorf("second Close: %v", err)
	}
	wantError(t, "Ping of a closed store", s.Ping(t.Context()), tunnel.ErrUnavailable)
	if s.Watch(t.Context(), topic) == nil {
		t.Error("Watch of a closed store: got no channel")
	}
}

func received(wake <-chan struct{}) bool {
	select {
	case <-wake:
		return true
	default:
		return false
	}
}
