package redisstore_test

import (
	"crypto/rand"
	"fmt"
	"log/slog"
	"net/netip"
	"testing"

	"github.com/culvert-tunnel/culvert/pkg/lease"
	"github.com/culvert-tunnel/culvert/pkg/redisstore"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

// One worker's renewal of four slots in the embedded store: what an idle single process pays every two seconds.
func BenchmarkRenewEmbedded(b *testing.B) {
	s, err := redisstore.OpenEmbedded(b.Context(), slog.New(slog.DiscardHandler))
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	id, err := tunnel.NewID(rand.Reader)
	if err != nil {
		b.Fatal(err)
	}
	connector := tunnel.ConnectorID(id)
	var reports []lease.Report
	for i := range tunnel.ConnIndex(4) {
		g, err := s.Grant(b.Context(), lease.Grant{
			Slot: tunnel.Slot{Tunnel: id, Connector: connector, Index: i}, Worker: "w", Protocol: tunnel.QUIC,
			Edge: tunnel.EdgeAddr{Addr: netip.MustParseAddrPort(fmt.Sprintf("192.0.2.%d:7844", i+1))},
		}, 0, lease.LeaseTTL)
		if err != nil {
			b.Fatal(err)
		}
		reports = append(reports, lease.Report{Index: i, Epoch: g.Epoch, Status: lease.Status{State: lease.StateConnected}})
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.Renew(b.Context(), id, connector, "w", reports, lease.LeaseTTL); err != nil {
			b.Fatal(err)
		}
	}
}
