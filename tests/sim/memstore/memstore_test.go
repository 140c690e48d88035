package memstore_test

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/culvert-tunnel/culvert/pkg/lease"
	"github.com/culvert-tunnel/culvert/pkg/redisstore/command"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
	"github.com/culvert-tunnel/culvert/tests/sim/memstore"
)

// start is the time at which tests begin, in microseconds.
const start = 1_700_000_000_123_456

func slotOf(index int) tunnel.Slot {
	return tunnel.Slot{Tunnel: tunnel.ID{1}, Connector: tunnel.ConnectorID{2}, Index: tunnel.ConnIndex(index)}
}

func edgeOf(n int) tunnel.EdgeAddr {
	return tunnel.EdgeAddr{
		Region: tunnel.Region(fmt.Sprintf("region%d", n%2+1)),
		Addr:   netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(n)}), 7844),
	}
}

// run sends a request to a store and decodes the reply.
func run[T any](tb testing.TB, s *memstore.Store, r command.Request[T], err error) (T, error) {
	tb.Helper()
	if err != nil {
		tb.Fatalf("request: %v", err)
	}
	reply, err := s.Do(r.Command)
	if err != nil {
		var none T
		return none, err
	}
	return r.Decode(reply)
}

func must[T any](tb testing.TB, s *memstore.Store, r command.Request[T], err error) T {
	tb.Helper()
	value, err := run(tb, s, r, err)
	if err != nil {
		tb.Fatalf("%s: %v", r.Op, err)
	}
	return value
}

func grant(tb testing.TB, s *memstore.Store, index int, worker string, expect tunnel.Epoch) lease.Grant {
	tb.Helper()
	g := lease.Grant{Slot: slotOf(index), Worker: tunnel.WorkerID(worker), Edge: edgeOf(index), Protocol: tunnel.QUIC}
	r, err := command.Grant(g, expect, lease.LeaseTTL)
	return must(tb, s, r, err)
}

func slots(tb testing.TB, s *memstore.Store) []lease.Record {
	tb.Helper()
	return must(tb, s, command.Slots(slotOf(0).Tunnel, slotOf(0).Connector), nil).Records
}

func TestLease(t *testing.T) {
	s := memstore.New(start)
	g := grant(t, s, 0, "w", 0)
	if g.Epoch != start/1000 {
		t.Errorf("epoch of the first grant: %d, want the time %d", g.Epoch, start/1000)
	}
	if got := slots(t, s); len(got) != 1 || !got[0].Live || got[0].Age != 0 {
		t.Errorf("slots: %+v", got)
	}
	s.SetNow(start + 20_000_000)
	if got := slots(t, s); got[0].Live || got[0].Age != 20*time.Second {
		t.Errorf("slots after the lease: %+v", got)
	}
	report := lease.Report{Index: 0, Epoch: g.Epoch, Status: lease.Status{State: lease.StateConnected}}
	r, err := command.Renew(g.Slot.Tunnel, g.Slot.Connector, "w", []lease.Report{report}, lease.LeaseTTL)
	if got := must(t, s, r, err); !got.Records[0].Live {
		t.Errorf("slots after a late renewal: %+v", got)
	}
	if !must(t, s, command.Proved(g.Slot.Tunnel, g.Slot.Connector), nil) {
		t.Error("the path is not proved")
	}
	_, err = run(t, s, command.Release(g.Slot, "other", g.Epoch), nil)
	if !errors.Is(err, tunnel.ErrFenced) {
		t.Errorf("release by another worker: %v", err)
	}
	second := memstore.New(start)
	if len(second.Contents()) != 0 {
		t.Error("a new store is not empty")
	}
}

// Keys end by the server's clock, and are gone then.
func TestExpiry(t *testing.T) {
	s := memstore.New(start)
	grant(t, s, 0, "w", 0)
	must(t, s, command.TakeLead("r", "h", 5*time.Second), nil)
	if got := keysOf(s); got != "cv:lead:r bucket slots" {
		t.Errorf("keys: %s", got)
	}
	s.SetNow(start + 5_000_000)
	if got := keysOf(s); got != "cv:lead:r bucket slots" {
		t.Errorf("keys at the deadline: %s", got)
	}
	s.SetNow(start + 5_001_000)
	if got := keysOf(s); got != "cv:lead:r bucket slots" { // the term stays
		t.Errorf("keys after the deadline: %s", got)
	}
	s.SetNow(start + 3_600_000_000)
	if got := keysOf(s); got != "cv:lead:r slots" {
		t.Errorf("keys after an hour: %s", got)
	}
}

func keysOf(s *memstore.Store) string {
	var names []string
	for _, c := range s.Contents() {
		if i := strings.Index(c.Key, "}:"); i >= 0 {
			c.Key = c.Key[i+2:]
		}
		names = append(names, c.Key)
	}
	return strings.Join(names, " ")
}

func TestFailover(t *testing.T) {
	s := memstore.New(start)
	var states [][]memstore.Content
	steps := mixedSteps(t)
	for _, c := range steps {
		states = append(states, s.Contents())
		before := s.Writes()
		if _, err := s.Do(c); err != nil {
			t.Fatalf("%v: %v", c, err)
		}
		if s.Writes() != before+1 {
			t.Fatalf("%v: %d writes, want 1", c, s.Writes()-before)
		}
	}
	for lost := 1; lost <= len(steps); lost++ {
		snapshot := s.Snapshot()
		fresh := memstore.New(start)
		for _, c := range steps {
			if _, err := fresh.Do(c); err != nil {
				t.Fatal(err)
			}
		}
		if n := fresh.Failover(lost, 0); n != lost {
			t.Fatalf("lost %d writes, want %d", n, lost)
		}
		if diff := cmp.Diff(states[len(steps)-lost], fresh.Contents()); diff != "" {
			t.Errorf("after the loss of %d writes (-want +got):\n%s", lost, diff)
		}
		// A copy is independent of what happens to the store.
		fresh.Restore(snapshot)
		if diff := cmp.Diff(s.Contents(), fresh.Contents()); diff != "" {
			t.Errorf("after Restore (-want +got):\n%s", diff)
		}
	}
	if n := s.Failover(1000, 0); n != len(steps) {
		t.Errorf("lost %d writes, want all %d", n, len(steps))
	}
	if got := s.Contents(); len(got) != 0 {
		t.Errorf("contents after the loss of all writes: %v", got)
	}
	s.Failover(0, 3_600_000_000)
	if s.Now() != start+3_600_000_000 {
		t.Errorf("clock after a failover: %d", s.Now()-start)
	}
	grant(t, s, 0, "w", 0)
	s.Flush()
	if got := s.Contents(); len(got) != 0 {
		t.Errorf("contents after Flush: %v", got)
	}
}

// mixedSteps are commands that make every kind of change.
func mixedSteps(t *testing.T) []command.Command {
	t.Helper()
	plain := func(words ...string) command.Command { return command.Command{Args: words} }
	g, err := command.Grant(lease.Grant{Slot: slotOf(0), Worker: "w", Edge: edgeOf(0)}, 0, time.Second)
	if err != nil {
		t.Fatal(err)
	}
	return []command.Command{
		g.Command,
		plain("hset", "h", "a", "1", "b", "2", "c", "3"),
		plain("hset", "h", "b", "4", "d", "5"),
		plain("hdel", "h", "b", "c"),
		plain("hset", "h", "b", "6"),
		plain("zadd", "z", "5", "x", "3", "y"),
		plain("zadd", "z", "1", "x"),
		plain("zrem", "z", "y"),
		plain("pexpire", "z", "60000"),
		plain("pexpire", "z", "90000"),
		plain("set", "s", "v", "px", "1000"),
		plain("set", "s", "w"),
		plain("del", "s", "h"),
		plain("hset", "h", "z", "1"),
		plain("zrem", "z", "x"),
	}
}

// The journal keeps the last writes only, however many there were.
func TestJournalIsBounded(t *testing.T) {
	s := memstore.New(start)
	for i := range 5 * memstore.KeptWrites {
		if _, err := s.Do(command.Command{Args: []string{"hset", "h", "f", fmt.Sprint(i), fmt.Sprint("f", i%7), "x"}}); err != nil {
			t.Fatal(err)
		}
	}
	if n := s.Failover(10*memstore.KeptWrites, 0); n != memstore.KeptWrites {
		t.Errorf("lost %d writes, want %d", n, memstore.KeptWrites)
	}
	value, err := s.Do(command.Command{Args: []string{"hget", "h", "f"}})
	if want := fmt.Sprint(4*memstore.KeptWrites - 1); err != nil || value != want {
		t.Errorf("after the loss: %v, %v, want %s", value, err, want)
	}
}

// A script that writes and then fails keeps what it wrote, as in a Redis.
func TestScriptErrors(t *testing.T) {
	s := memstore.New(start)
	for name, c := range map[string]struct{ text, want string }{
		"own error":      {"redis.call('SET', KEYS[1], 'x')\nreturn {err = 'MY error'}", "MY error"},
		"lua error":      {"local x\nreturn x .. 'a'", "ERR user_script:2: "},
		"global":         {"x = 1", "ERR user_script:1: Attempt to modify a readonly table"},
		"unknown global": {"return x", "nonexistent global variable 'x'"},
		"unknown":        {"return redis.call('LPUSH', 'a', 'b')", "ERR Unknown Redis command called from script script: "},
		"wrong type":     {"redis.call('SET', KEYS[1], 'x')\nredis.call('HGET', KEYS[1], 'x')", "WRONGTYPE "},
		"no script":      {"", "NOSCRIPT "},
		"syntax":         {"return (", "ERR Error compiling script"},
		"random":         {"return math.random()", "attempt to call"},
	} {
		s.ReplaceScript("own", c.text)
		_, err := s.Do(command.Command{Script: "own", Keys: []string{"k"}})
		var reply memstore.Error
		if !errors.As(err, &reply) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %s", name, err, c.want)
		}
	}
	if got := keysOf(s); got != "k" {
		t.Errorf("keys: %s, want the one that was written before the error", got)
	}
	s.ReplaceScript("grant", "return {'ok', '5', '0'}")
	if g := grant(t, s, 0, "w", 0); g.Epoch != 5 {
		t.Errorf("grant by another script: %+v", g)
	}
}

func TestMessages(t *testing.T) {
	s := memstore.New(start)
	must(t, s, command.Publish("topic", []byte("m")), nil)
	want := []memstore.Message{{Channel: command.HintChannel("topic"), Text: "m"}}
	if diff := cmp.Diff(want, s.Messages()); diff != "" {
		t.Errorf("messages (-want +got):\n%s", diff)
	}
	if got := s.Messages(); len(got) != 0 {
		t.Errorf("messages again: %v", got)
	}
}

// The same commands give the same replies and the same contents, in the same order.
func TestDeterminism(t *testing.T) {
	history := func() string {
		var out strings.Builder
		s := memstore.New(start)
		w := newWorld(choicesOf(7, 3000))
		for w.more() {
			s.SetNow(s.Now() + w.step().Microseconds())
			c := w.next()
			reply, err := s.Do(c)
			w.learn(c, reply)
			fmt.Fprintln(&out, c, reply, err)
		}
		fmt.Fprintln(&out, s.Contents())
		return out.String()
	}
	if a, b := history(), history(); a != b || len(a) < 1000 {
		t.Errorf("two runs differ, or did nothing:\n%.500s\n%.500s", a, b)
	}
}

// BenchmarkRenew is a renewal of four slots without the decoding of its reply, and BenchmarkRenewDecoded with it.
func BenchmarkRenew(b *testing.B)        { benchmarkRenew(b, false) }
func BenchmarkRenewDecoded(b *testing.B) { benchmarkRenew(b, true) }

func benchmarkRenew(b *testing.B, decode bool) {
	s := memstore.New(start)
	var reports []lease.Report
	for i := range 4 {
		g := grant(b, s, i, "w", 0)
		reports = append(reports, lease.Report{Index: g.Slot.Index, Epoch: g.Epoch, Status: lease.Status{
			State: lease.StateConnected, Location: "ams01", Protocol: tunnel.QUIC, InFlight: 3,
		}})
	}
	r, err := command.Renew(slotOf(0).Tunnel, slotOf(0).Connector, "w", reports, lease.LeaseTTL)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	before := cpuTime(b)
	for b.Loop() {
		s.SetNow(s.Now() + 1000)
		reply, err := s.Do(r.Command)
		if err != nil {
			b.Fatal(err)
		}
		if !decode {
			continue
		}
		if table, err := r.Decode(reply); err != nil || len(table.Records) != 4 || !table.Records[3].Live {
			b.Fatal(table, err)
		}
	}
	b.ReportMetric(float64(b.N)/(cpuTime(b)-before).Seconds(), "renewals/cpu-s")
}

// cpuTime is the processor time that the process has used, garbage collection included: the elapsed time says little on a machine that
// does something else, too.
func cpuTime(tb testing.TB) time.Duration {
	tb.Helper()
	var usage unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &usage); err != nil {
		tb.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}
