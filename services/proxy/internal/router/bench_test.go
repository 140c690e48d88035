package router_test

import (
	"encoding/binary"
	"fmt"
	"log/slog"
	"runtime"
	"testing"

	"github.com/culvert-tunnel/culvert/pkg/ingress"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
	"github.com/culvert-tunnel/culvert/services/proxy/internal/opener"
	"github.com/culvert-tunnel/culvert/services/proxy/internal/router"
)

const (
	benchTunnels = 1000
	benchRules   = 10
)

func benchID(n int) (id tunnel.ID) {
	binary.BigEndian.PutUint32(id[:], uint32(n+1))
	return id
}

// benchSet is what one of many tunnels might have: nine hosts with a plain HTTP service each, and the last rule.
func benchSet(tb testing.TB, n int) *ingress.Set {
	tb.Helper()
	var doc ingress.Document
	for i := range benchRules - 1 {
		doc.Ingress = append(doc.Ingress, ingress.RuleSpec{
			Hostname: fmt.Sprintf("app-%d.tenant-%d.example.com", i, n), Service: fmt.Sprintf("http://10.0.%d.%d:8080", n%250, i),
		})
	}
	doc.Ingress = append(doc.Ingress, ingress.RuleSpec{Service: "http_status:404"})
	set, err := ingress.Compile(doc)
	if err != nil {
		tb.Fatal(err)
	}
	return set
}

// BenchmarkTunnels has 1,000 tunnels with 10 rules each in one table. "fill" reports the memory that each takes, "swap" is the
// replacement of the rules of one of them with its compilation, and "match" what a request pays.
func BenchmarkTunnels(b *testing.B) {
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	table, err := router.New(ingress.Default503(), opener.New(slog.New(slog.DiscardHandler), nil))
	if err != nil {
		b.Fatal(err)
	}
	defer table.Close()
	for n := range benchTunnels {
		if err := table.Swap(benchID(n), benchSet(b, n)); err != nil {
			b.Fatal(err)
		}
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	perTunnel := float64(after.HeapAlloc-before.HeapAlloc) / benchTunnels
	b.Run("swap", func(b *testing.B) {
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			if err := table.Swap(benchID(i%benchTunnels), benchSet(b, i%benchTunnels)); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(perTunnel, "B/tunnel")
	})
	b.Run("match", func(b *testing.B) {
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			if r := table.For(benchID(i % benchTunnels)).Match(ingress.Get("app-3.tenant-7.example.com", "/")); r == nil {
				b.Fatal("no route")
			}
		}
	})
	b.Run("for_default", func(b *testing.B) { // a tunnel without rules of its own
		b.ReportAllocs()
		for b.Loop() {
			if table.For(tunnel.ID{15: 1}) == nil {
				b.Fatal("no snapshot")
			}
		}
	})
}
