package redisstore_test

import (
	"crypto/rand"
	"fmt"
	"log/slog"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/culvert-tunnel/culvert/pkg/fleet"
	"github.com/culvert-tunnel/culvert/pkg/lease"
	"github.com/culvert-tunnel/culvert/pkg/redisstore"
	"github.com/culvert-tunnel/culvert/pkg/redisstore/command"
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

// benchSlots is the greatest number of slots that a connector can have.
const benchSlots = 255

// BenchmarkScripts measures the time that a Redis spends in each script, as it counts it itself, for a connector with 255 slots and as
// many registrations: a server executes nothing else meanwhile.
func BenchmarkScripts(b *testing.B) {
	_, url := startServer(b)
	opts, err := redis.ParseURL(url)
	if err != nil {
		b.Fatal(err)
	}
	opts.Protocol, opts.DisableIdentity = 2, true
	server := &benchServer{client: redis.NewClient(opts)}
	defer server.client.Close()
	slots, reports := server.fill(b)
	first := slots[0]
	renew := func(n int, ttl time.Duration) command.Command {
		r, err := command.Renew(first.Slot.Tunnel, first.Slot.Connector, "w", reports[:n], ttl)
		return made(b, r, err)
	}
	report := func(n int) command.Command {
		r, err := command.Report(first.Slot.Tunnel, first.Slot.Connector, "w", "a", reports[:n])
		return made(b, r, err)
	}
	server.do(b, renewWorker(b))
	for _, c := range []struct {
		name    string
		command command.Command
	}{
		{"renew 255 live", renew(benchSlots, lease.LeaseTTL)},
		{"renew 4 live", renew(4, lease.LeaseTTL)},
		{"report 255", report(benchSlots)},
		{"report 4", report(4)},
		{"renew_worker", renewWorker(b)},
		{"notify", command.Notify("w1", []tunnel.ID{{1}, {2}}).Command},
		{"slots", command.Slots(first.Slot.Tunnel, first.Slot.Connector).Command},
		{"grant refused", regrant(b, first, 1)},
		{"proved", command.Proved(first.Slot.Tunnel, first.Slot.Connector).Command},
		{"release", command.Release(first.Slot, "other", first.Epoch).Command},
		{"list", command.Workers().Command},
		{"fleet", command.Fleet(0).Command},
		{"take_lead", command.TakeLead("r", "h", time.Hour).Command},
		{"leader", command.Leader("r").Command},
		{"renew 255 expired", renew(benchSlots, 0)}, // they stay expired from here on
		{"renew 4 expired", renew(4, 0)},
		{"report 255 expired", report(benchSlots)}, // they are live again afterwards
	} {
		b.Run(c.name, func(b *testing.B) { server.measure(b, func(int) command.Command { return c.command }) })
	}
	epoch := first.Epoch
	b.Run("grant", func(b *testing.B) {
		server.measure(b, func(int) command.Command { return regrant(b, first, epoch) }, func(reply any) {
			if words, ok := reply.([]any); ok && len(words) == 3 {
				n, err := strconv.ParseUint(fmt.Sprint(words[1]), 10, 64)
				if err != nil {
					b.Fatal(err)
				}
				epoch = tunnel.Epoch(n)
			}
		})
	})
	b.Run("put", func(b *testing.B) {
		server.measure(b, func(i int) command.Command { return worker(b, i%benchSlots) })
	})
}

// benchServer is a Redis that is asked for its own figures.
type benchServer struct{ client *redis.Client }

func (s *benchServer) do(b *testing.B, c command.Command) any {
	b.Helper()
	args := make([]any, len(c.Args))
	for i, a := range c.Args {
		args[i] = a
	}
	reply, err := redis.NewScript(command.Source(c.Script)).Run(b.Context(), s.client, c.Keys, args...).Result()
	if err != nil {
		b.Fatalf("%s: %v", c.Script, err)
	}
	return reply
}

// fill writes the slots and the registrations.
func (s *benchServer) fill(b *testing.B) (grants []lease.Grant, reports []lease.Report) {
	b.Helper()
	for i := range benchSlots {
		g := lease.Grant{
			Slot:   tunnel.Slot{Tunnel: tunnel.ID{1}, Connector: tunnel.ConnectorID{2}, Index: tunnel.ConnIndex(i)},
			Worker: "w", Protocol: tunnel.QUIC,
			Edge: tunnel.EdgeAddr{Region: "region1", Addr: netip.MustParseAddrPort(fmt.Sprintf("192.0.2.%d:7844", i))},
		}
		r, err := command.Grant(g, 0, time.Hour)
		if err != nil {
			b.Fatal(err)
		}
		if g, err = r.Decode(s.do(b, r.Command)); err != nil {
			b.Fatal(err)
		}
		grants = append(grants, g)
		reports = append(reports, lease.Report{
			Index: g.Slot.Index, Epoch: g.Epoch, Status: lease.Status{State: lease.StateConnected, Location: "ams01", Protocol: tunnel.QUIC},
		})
		s.do(b, worker(b, i))
	}
	return grants, reports
}

// measure runs commands and reports the time that the server spent in scripts, and its processor time for everything.
func (s *benchServer) measure(b *testing.B, next func(i int) command.Command, seen ...func(reply any)) {
	b.Helper()
	if err := s.client.ConfigResetStat(b.Context()).Err(); err != nil {
		b.Fatal(err)
	}
	before := s.info(b, "cpu", "used_cpu_user:") + s.info(b, "cpu", "used_cpu_sys:")
	calls := 0
	for b.Loop() {
		reply := s.do(b, next(calls))
		for _, f := range seen {
			f(reply)
		}
		calls++
	}
	used := s.info(b, "cpu", "used_cpu_user:") + s.info(b, "cpu", "used_cpu_sys:") - before
	b.ReportMetric(used*1e6/float64(calls), "redis-cpu-µs/op")
	b.ReportMetric(s.info(b, "commandstats", "cmdstat_evalsha:", "usec_per_call="), "redis-µs/op")
}

// info is the number behind the last of some words that follow each other in a section of INFO.
func (s *benchServer) info(b *testing.B, section string, words ...string) float64 {
	b.Helper()
	text, err := s.client.Info(b.Context(), section).Result()
	if err != nil {
		b.Fatal(err)
	}
	for _, w := range words {
		_, text, _ = strings.Cut(text, w)
	}
	number := text[:max(0, strings.IndexAny(text+",", ",\r"))]
	f, err := strconv.ParseFloat(number, 64)
	if err != nil {
		b.Fatal(err)
	}
	return f
}

func made[T any](b *testing.B, r command.Request[T], err error) command.Command {
	b.Helper()
	if err != nil {
		b.Fatal(err)
	}
	return r.Command
}

// regrant grants a slot again to its address.
func regrant(b *testing.B, g lease.Grant, expect tunnel.Epoch) command.Command {
	b.Helper()
	r, err := command.Grant(g, expect, time.Hour)
	return made(b, r, err)
}

// renewWorker renews the lease of a worker whose record is stored, as it does all the time.
func renewWorker(b *testing.B) command.Command {
	b.Helper()
	r, err := command.RenewWorker(fleet.Renewal{
		Worker: fleet.Worker{ID: "leased", Instance: "a", Host: "host", Version: "1"}, Full: true, Number: 1,
	}, time.Hour)
	return made(b, r, err)
}

func worker(b *testing.B, n int) command.Command {
	b.Helper()
	r, err := command.PutWorker(fleet.Worker{ID: tunnel.WorkerID(fmt.Sprint("w", n)), Host: "host", Version: "1"}, time.Hour)
	return made(b, r, err)
}
