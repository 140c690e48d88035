package discovery_test

import (
	"log/slog"
	"testing"

	"github.com/culvert-tunnel/culvert/pkg/edgepool"
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
