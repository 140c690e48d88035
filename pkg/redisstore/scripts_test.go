package redisstore_test

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/culvert-tunnel/culvert/pkg/desired"
	"github.com/culvert-tunnel/culvert/pkg/edgepool"
	"github.com/culvert-tunnel/culvert/pkg/fleet"
	"github.com/culvert-tunnel/culvert/pkg/lease"
	"github.com/culvert-tunnel/culvert/pkg/quota"
	"github.com/culvert-tunnel/culvert/pkg/redisstore/command"
	"github.com/culvert-tunnel/culvert/pkg/rules"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

const (
	// benchSlots is the greatest number of slots that a connector can have. There are as many workers, tunnels and documents.
	benchSlots = 255
	// benchCommands is how many commands of operators wait.
	benchCommands = desired.MaxPending
	// benchDocument is the size of a sealed configuration.
	benchDocument = 16 << 10
)

// scriptCase is one way to run a script.
type scriptCase struct {
	name string
	// next makes a call from the number of calls before, and the reply to the last one.
	next func(calls int, reply any) command.Command
}

// TestEveryScriptIsMeasured: the benchmark of the scripts leaves none out.
func TestEveryScriptIsMeasured(t *testing.T) {
	measured := map[string]bool{}
	for _, c := range scriptCases(t, []lease.Grant{benchGrant(0)}, make([]lease.Report, benchSlots)) {
		measured[c.next(0, nil).Script] = true
	}
	for _, name := range command.Scripts() {
		if !measured[name] {
			t.Errorf("script %s is not among the cases of BenchmarkScripts", name)
		}
	}
}

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
	for _, c := range scriptCases(b, slots, reports) {
		b.Run(c.name, func(b *testing.B) { server.measure(b, c.next) })
	}
}

// scriptCases are all scripts, for the slots of a connector and the reports about them.
func scriptCases(tb testing.TB, slots []lease.Grant, reports []lease.Report) []scriptCase {
	tb.Helper()
	first := slots[0]
	id, connector := first.Slot.Tunnel, first.Slot.Connector
	always := func(name string, c command.Command) scriptCase {
		return scriptCase{name, func(int, any) command.Command { return c }}
	}
	renew := func(n int, ttl time.Duration) command.Command {
		r, err := command.Renew(id, connector, "w", reports[:n], ttl)
		return made(tb, r, err)
	}
	report := func(n int) command.Command {
		r, err := command.Report(id, connector, "w", "a", reports[:n])
		return made(tb, r, err)
	}
	return slices.Concat([]scriptCase{
		always("renew 255 live", renew(benchSlots, lease.LeaseTTL)),
		always("renew 4 live", renew(4, lease.LeaseTTL)),
		always("report 255", report(benchSlots)),
		always("report 4", report(4)),
		always("renew_worker", renewWorker(tb, 1)),
		always("renew_worker of 1000 tunnels", renewWorker(tb, 1000)),
		always("notify", command.Notify("w1", []tunnel.ID{{1}, {2}}).Command),
		always("slots", command.Slots(id, connector).Command),
		always("slots of a leader", command.SlotsUnder(1, id, connector).Command),
		always("grant refused", regrant(tb, first, 1)),
		always("reconnect", made(tb, command.AskReconnect(1, first.Slot, first.Epoch, "id"), nil)),
		always("proved", command.Proved(id, connector).Command),
		always("offer_connector", command.OfferConnector(id, connector).Command),
		always("release", command.Release(first.Slot, "other", first.Epoch).Command),
		always("list", command.Workers().Command),
		always("fleet", command.Fleet(0).Command),
		always("remove", command.RemoveWorker("nobody", "a").Command),
		always("new_generation", command.NewGeneration().Command),
		always("take_lead", command.TakeLead("r", "h", time.Hour).Command),
		always("resign_lead", command.ResignLead("r", "other").Command),
		always("leader", command.Leader("r").Command),
		always("connector", command.Connector(id).Command),
		always("take_share", command.TakeShare("s", "h/1", 0, time.Hour, true).Command),
		always("leave_share", command.LeaveShare("s", "other").Command),
		always("publish_pool", publishPool(tb)),
	}, operatorCases(tb), []scriptCase{
		always("renew 255 expired", renew(benchSlots, 0)), // they stay expired from here on
		always("renew 4 expired", renew(4, 0)),
		always("report 255 expired", report(benchSlots)), // they are live again afterwards
		{"grant", func(_ int, reply any) command.Command {
			return regrant(tb, first, max(first.Epoch, tunnel.Epoch(numberIn(reply))))
		}},
		{"put", func(calls int, _ any) command.Command { return worker(tb, calls%benchSlots) }},
	})
}

// operatorCases are the scripts about what operators desire.
func operatorCases(tb testing.TB) []scriptCase {
	tb.Helper()
	always := func(name string, c command.Command) scriptCase {
		return scriptCase{name, func(int, any) command.Command { return c }}
	}
	history := command.Rules(tunnel.ID{1}, 0).Command
	return []scriptCase{
		always("desired", command.Desired(0).Command),
		{"set_desired", func(_ int, reply any) command.Command { return setDesired(tb, 200, numberIn(reply)) }},
		always("submit_command of one more", submit(tb, benchCommands)), // there is no room for it
		always("submit_command again", submit(tb, 0)),
		always("answer_command", command.Answer("c1", desired.Result{Outcome: desired.Done}).Command),
		{"put_rules", func(_ int, reply any) command.Command { return putRules(tb, 250, numberIn(reply)) }},
		always("report_rules", reportRules(tb, 1)),
		always("note_rules", noteRules(tb)),
		{"quota", func(calls int, _ any) command.Command {
			return command.Quota(tunnel.ID{1}, quota.Ask{
				Process: fmt.Sprint("p", calls%100), Seq: uint64(calls), Limit: 1000, Held: 10, Used: 8, Want: 12,
			}).Command
		}},
		always("leave_quota", command.LeaveQuota(tunnel.ID{1}, "nobody").Command),
		always("reseal_rules", command.ResealRules(tunnel.ID{1}, 1, "x", "y").Command),
		always("rules", history),
		always("rule_heads", command.RuleHeads(0).Command),
	}
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

// fill writes the slots, the registrations, the documents, the commands, and the configurations.
func (s *benchServer) fill(b *testing.B) (grants []lease.Grant, reports []lease.Report) {
	b.Helper()
	for i := range benchSlots {
		r, err := command.Grant(benchGrant(i), 0, time.Hour)
		if err != nil {
			b.Fatal(err)
		}
		g, err := r.Decode(s.do(b, r.Command))
		if err != nil {
			b.Fatal(err)
		}
		grants = append(grants, g)
		reports = append(reports, lease.Report{
			Index: g.Slot.Index, Epoch: g.Epoch, Status: lease.Status{State: lease.StateConnected, Location: "ams01", Protocol: tunnel.QUIC},
		})
		s.do(b, worker(b, i))
		if i < 200 { // one that the benchmark changes is not among them
			s.do(b, setDesired(b, i, 0))
		}
		if i < 250 {
			s.do(b, putRules(b, i, 0))
		}
		s.do(b, reportRules(b, i))
	}
	var last uint64
	for range rules.MaxVersions {
		last = numberIn(s.do(b, putRules(b, 1, last)))
	}
	for n := range benchCommands {
		s.do(b, submit(b, n))
	}
	s.do(b, renewWorker(b, 1))
	return grants, reports
}

// measure runs commands and reports the time that the server spent in scripts, and its processor time for everything.
func (s *benchServer) measure(b *testing.B, next func(calls int, reply any) command.Command) {
	b.Helper()
	if err := s.client.ConfigResetStat(b.Context()).Err(); err != nil {
		b.Fatal(err)
	}
	before := s.info(b, "cpu", "used_cpu_user:") + s.info(b, "cpu", "used_cpu_sys:")
	calls := 0
	var reply any
	for b.Loop() {
		reply = s.do(b, next(calls, reply))
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

func made[T any](tb testing.TB, r command.Request[T], err error) command.Command {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
	return r.Command
}

// numberIn is the second word of a reply, an epoch or a version, or 0.
func numberIn(reply any) uint64 {
	words, _ := reply.([]any)
	if len(words) < 2 {
		return 0
	}
	n, _ := strconv.ParseUint(fmt.Sprint(words[1]), 10, 64)
	return n
}

// benchTunnel is the tunnel with a number.
func benchTunnel(n int) tunnel.ID { return tunnel.ID{byte(n), byte(n >> 8), 6: 0x40, 8: 0x80} }

// benchGrant is the first grant of a slot.
func benchGrant(i int) lease.Grant {
	return lease.Grant{
		Slot:   tunnel.Slot{Tunnel: tunnel.ID{1}, Connector: tunnel.ConnectorID{2}, Index: tunnel.ConnIndex(i)},
		Worker: "w", Protocol: tunnel.QUIC,
		Edge: tunnel.EdgeAddr{Region: "region1", Addr: netip.MustParseAddrPort(fmt.Sprintf("192.0.2.%d:7844", i))},
	}
}

// regrant grants a slot again to its address.
func regrant(tb testing.TB, g lease.Grant, expect tunnel.Epoch) command.Command {
	tb.Helper()
	r, err := command.Grant(g, expect, time.Hour)
	return made(tb, r, err)
}

// renewWorker renews the lease of a worker with so many tunnels, and sends its record.
func renewWorker(tb testing.TB, tunnels int) command.Command {
	tb.Helper()
	r, err := command.RenewWorker(fleet.Renewal{
		Worker: fleet.Worker{ID: "leased", Instance: "a", Host: "host", Version: "1", Tunnels: benchTunnels(tunnels)}, Full: true, Number: 1,
	}, time.Hour)
	return made(tb, r, err)
}

func benchTunnels(n int) []fleet.TunnelRef {
	refs := make([]fleet.TunnelRef, n)
	for i := range refs {
		refs[i] = fleet.TunnelRef{ID: benchTunnel(i), AccountHash: 7, IPVersion: "auto", Named: true}
	}
	return refs
}

func worker(tb testing.TB, n int) command.Command {
	tb.Helper()
	r, err := command.PutWorker(fleet.Worker{ID: tunnel.WorkerID(fmt.Sprint("w", n)), Host: "host", Version: "1"}, time.Hour)
	return made(tb, r, err)
}

func publishPool(tb testing.TB) command.Command {
	tb.Helper()
	region := func(name string, net byte) edgepool.RegionPool {
		p := edgepool.RegionPool{Name: tunnel.Region(name)}
		for i := range 100 {
			p.V4 = append(p.V4, netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, net, byte(i)}), 7844))
		}
		return p
	}
	r, err := command.PublishPool("", edgepool.Pool{Regions: []edgepool.RegionPool{region("region1", 2), region("region2", 3)}})
	return made(tb, r, err)
}

func setDesired(tb testing.TB, n int, expect uint64) command.Command {
	tb.Helper()
	r, err := command.SetDesired(benchTunnel(n), expect, desired.Spec{Connections: 4, Weights: map[string]int{"w1": 2}}, "operator", false)
	return made(tb, r, err)
}

// submit sends a command. Each is of another tunnel than the 63 before.
func submit(tb testing.TB, n int) command.Command {
	tb.Helper()
	r, err := command.Submit(desired.Command{
		ID: fmt.Sprint("c", n), Kind: desired.Reconnect, Tunnel: benchTunnel(n % 64), Epoch: 1, Author: "operator",
	}, desired.MaxTTL)
	return made(tb, r, err)
}

func noteRules(tb testing.TB) command.Command {
	tb.Helper()
	r, err := command.NoteRules(benchTunnel(251), rules.Stored{
		Head: rules.Head{Position: rules.Position{Push: 1}, Author: "operator", Hash: strings.Repeat("a", 64)}, Sealed: "x",
	})
	return made(tb, r, err)
}

func putRules(tb testing.TB, n int, expect uint64) command.Command {
	tb.Helper()
	const first = 1 << 45 // more than the time in ms
	at := rules.Position{Push: rules.NoPush, Number: max(first, expect+1)}
	r, err := command.PutRules(benchTunnel(n), expect, rules.Stored{
		Head: rules.Head{Position: at, Author: "operator", Hash: strings.Repeat("a", 64)}, Sealed: strings.Repeat("x", benchDocument),
	})
	return made(tb, r, err)
}

// reportRules is the result of one of many proxies for one tunnel.
func reportRules(tb testing.TB, proxy int) command.Command {
	tb.Helper()
	r, err := command.ReportRules(benchTunnel(1), rules.Result{Proxy: fmt.Sprint("p", proxy)})
	return made(tb, r, err)
}
