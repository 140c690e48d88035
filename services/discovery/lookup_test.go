package discovery_test

import (
	"log/slog"
	"slices"
	"strings"
	"testing"

	"github.com/culvert-tunnel/culvert/pkg/edgepool"
	"github.com/culvert-tunnel/culvert/pkg/testkit"
	"github.com/culvert-tunnel/culvert/services/discovery"
	"github.com/culvert-tunnel/culvert/services/discovery/internal/dnstest"
)

// TestLookup: one lookup without a store finds what a replica would publish.
func TestLookup(t *testing.T) {
	dns := dnstest.Start(t, zone...)
	logger := slog.New(slog.DiscardHandler)
	pool, err := discovery.Lookup(t.Context(), config(dns), logger)
	if err != nil || pool.Version != 0 || len(pool.Regions) != 2 || pool.Regions[0].Name != "region1.v2.edge.test" ||
		pool.Count(edgepool.Any) != 2 || pool.FeatureTXT != `{"dv3_2":30}` {
		t.Errorf("Lookup = %+v, %v", pool, err)
	}
	cfg := config(dns)
	cfg.Static = []string{"127.0.0.1:7844"}
	if pool, err := discovery.Lookup(t.Context(), cfg, logger); err != nil || pool.Count(edgepool.Any) != 1 || pool.FeatureTXT != "" {
		t.Errorf("Lookup of a static address = %+v, %v", pool, err)
	}
	cfg.Static = []string{"no port"}
	if pool, err := discovery.Lookup(t.Context(), cfg, logger); err == nil {
		t.Errorf("Lookup of an invalid configuration = %+v", pool)
	}
	if got, want := discovery.Default().SRV.Record(), "_v2-origintunneld._tcp.argotunnel.com"; got != want {
		t.Errorf("Record() = %s, want %s", got, want)
	}
}

// What is refused is told once, until a lookup has nothing to refuse.
func TestRefusedAddressesAreToldOnce(t *testing.T) {
	vendor := make([]string, len(zone))
	for i, r := range zone {
		vendor[i] = strings.ReplaceAll(r, "edge.test", "argotunnel.com")
	}
	public := slices.Clone(vendor)
	public[2], public[3] = "region1.v2.argotunnel.com. 60 IN A 9.9.9.1", "region2.v2.argotunnel.com. 60 IN A 9.9.9.2"
	dns, store := dnstest.Start(t, public...), openStore(t)
	var logged lines
	cfg := config(dns)
	cfg.SRV.Domain = discovery.Default().SRV.Domain
	s, _ := startLogged(t, cfg, store, slog.New(slog.NewTextHandler(&logged, nil)))
	testkit.Eventually(t, "ready", func() bool { return s.Ready() == nil })
	dns.Set(t, vendor...)
	const why = "192.0.2.1, the address that a name server gives for region1.v2.argotunnel.com., is for documentation"
	// A lookup that was under way has the records of one region from before.
	testkit.Eventually(t, "the refusal", func() bool { v := show(t, s); return v.Stale && strings.Contains(v.LastError, why) })
	if pool, err := store.Pool(t.Context(), ""); err != nil || pool.Regions[0].V4[0].Addr().String() != "9.9.9.1" {
		t.Errorf("pool: %+v, %v, want the last good one", pool, err)
	}
	if n := strings.Count(logged.String(), "edge addresses refused"); n != 1 {
		t.Errorf("told %d times: %s", n, logged.String())
	}
	cfg.PrivateAddresses = discovery.AllowPrivate
	if pool, err := discovery.Lookup(t.Context(), cfg, slog.New(slog.DiscardHandler)); err != nil || pool.Count(edgepool.Any) != 2 {
		t.Errorf("Lookup with private addresses allowed = %+v, %v", pool, err)
	}
}
