package memstore_test

import (
	"flag"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/culvert-tunnel/culvert/pkg/redisstore/command"
	"github.com/culvert-tunnel/culvert/tests/sim/memstore"
)

var sequences = flag.Int("sequences", 60, "how many random sequences TestEqualToRedis compares")

const (
	// sequenceBytes gives about 60 commands.
	sequenceBytes = 400
	// margin is how far the time stays away from the end of every key, in milliseconds. See TestEqualToRedis.
	margin = 1000
	// clockKey holds the time that scripts see in the Redis of the test.
	clockKey = "test:clock"
)

// TestEqualToRedis executes random sequences of all requests, with the time between them, on the store in memory, on miniredis
// and on a Redis, and compares each reply and everything that is stored after it.
//
// The clock of a Redis cannot be set, so here scripts do not get it: a prelude on their first line replaces redis.call('TIME') by
// the content of a key and passes every other call on. The scripts see nothing else of the server's clock, since no other command
// that they use returns a time of day. That the real TIME has the form that the test gives is checked by TestTimeOfRedis.
//
// What else depends on the clock is the end of keys. It is not replaced: the Redis counts it by its own clock, and when the
// test's clock moves, the ends of all keys are moved by as much the other way, which is the same to a key. While a sequence runs,
// the real clock goes on, so ends are compared with a tolerance, and the test's clock never stops within it around the end of a
// key. A sequence that takes longer than the tolerance is not counted.
//
// Two things are left open because a Redis leaves them open: the order of HGETALL, and the text of an error (its first word is
// compared, and for miniredis only that there is one).
func TestEqualToRedis(t *testing.T) {
	mini := newMini(t)
	server := newServer(t)
	compared, commands := 0, 0
	for seed := range *sequences {
		c := comparison{t: t, mini: mini, server: server}
		if c.run(choicesOf(uint64(seed), sequenceBytes)) {
			compared++
		}
		commands += c.commands
		if c.difference != "" {
			t.Fatalf("sequence %d differs: %s", seed, c.difference)
		}
	}
	t.Logf("%d of %d sequences compared, %d commands", compared, *sequences, commands)
	if compared < *sequences/2 {
		t.Errorf("only %d of %d sequences were quick enough to be compared", compared, *sequences)
	}
}

// FuzzEqualToRedis is TestEqualToRedis with other sequences. It takes a number instead of the bytes of a sequence, so that the fuzzer
// does not spend its time on making each of them shorter.
func FuzzEqualToRedis(f *testing.F) {
	for seed := range uint64(8) {
		f.Add(seed, uint16(sequenceBytes))
	}
	mini := newMini(f)
	server := newServer(f)
	f.Fuzz(func(t *testing.T, seed uint64, length uint16) {
		c := comparison{t: t, mini: mini, server: server}
		if c.run(choicesOf(seed, int(length)%(2*sequenceBytes))); c.difference != "" {
			t.Error(c.difference)
		}
	})
}

// TestDifferencesAreFound plants a difference in the scripts that the store in memory executes, and expects the comparison to find it.
func TestDifferencesAreFound(t *testing.T) {
	mini := newMini(t)
	server := newServer(t)
	for what, scripts := range brokenScripts(t) {
		found := false
		for seed := uint64(0); seed < 100 && !found; seed++ {
			c := comparison{t: t, mini: mini, server: server, scripts: scripts}
			c.run(choicesOf(seed, sequenceBytes))
			found = c.difference != ""
		}
		if !found {
			t.Errorf("%s: not found in 100 sequences", what)
		}
	}
}

// comparison executes one sequence everywhere.
type comparison struct {
	t      *testing.T
	mini   *miniServer
	server *realServer
	// scripts are executed in memory instead of the real ones.
	scripts map[string]string

	commands   int
	difference string // the first one
}

// run reports whether the sequence was quick enough to be compared.
func (x *comparison) run(data []byte) bool {
	began := time.Now()
	w := newWorld(data)
	now := int64(start)
	s := memstore.New(now)
	for name, text := range x.scripts {
		s.ReplaceScript(name, text)
	}
	x.mini.reset(x.t, now)
	x.server.reset(x.t, now)
	for w.more() && x.difference == "" {
		step := settle(s, w.step())
		now += step.Microseconds()
		s.SetNow(now)
		if step != 0 {
			x.mini.advance(now, step)
			x.server.advance(x.t, now, step)
		}
		c := w.next()
		reply, err := s.Do(c)
		w.learn(c, reply)
		x.commands++

		serverReply, serverErr := x.server.do(x.t, c)
		serverContents := x.server.contents(x.t)
		if time.Since(began) > margin*time.Millisecond {
			return false
		}
		x.replies("Redis", w.shared, c, result{reply, err}, result{serverReply, serverErr}, firstWord)
		x.contents("Redis", c, s, serverContents, margin)
		if !w.exotic {
			miniReply, miniErr := x.mini.do(x.t, c)
			x.replies("miniredis", w.shared, c, result{reply, err}, result{miniReply, miniErr}, func(error) string { return "error" })
			x.contents("miniredis", c, s, x.mini.contents(x.t), 2)
		}
	}
	return true
}

func (x *comparison) differ(format string, args ...any) {
	if x.difference == "" {
		x.difference = fmt.Sprintf("command %d: ", x.commands) + fmt.Sprintf(format, args...)
	}
}

// settle makes a step longer until it does not end near the end of a key.
func settle(s *memstore.Store, step time.Duration) time.Duration {
	contents := s.Contents()
	for {
		at := (s.Now() + step.Microseconds()) / 1000
		if !slices.ContainsFunc(contents, func(c memstore.Content) bool {
			return c.Expiry != 0 && at >= c.Expiry-2*margin && at <= c.Expiry+2*margin
		}) {
			return step
		}
		step += 777 * time.Millisecond
	}
}

type result struct {
	reply any
	err   error
}

func firstWord(err error) string {
	word, _, _ := strings.Cut(err.Error(), " ")
	return word
}

func (x *comparison) replies(name string, shared bool, c command.Command, got, want result, class func(error) string) {
	text := func(r result) string {
		if r.err != nil {
			return class(r.err)
		}
		if list, ok := r.reply.([]any); ok && shared && c.Script == "grant" && len(list) > 0 && list[0] == "address" {
			return "address" // each of the slots that hold it is a right answer
		}
		return fmt.Sprintf("%T %v", r.reply, inOrder(c, r.reply))
	}
	if a, b := text(got), text(want); a != b {
		x.differ("%s: reply to %v:\nmemory %s (%v)\n%s %s (%v)", name, c, a, got.err, name, b, want.err)
	}
}

// inOrder sorts the fields of a reply that ends with those of a hash.
func inOrder(c command.Command, reply any) any {
	list, ok := reply.([]any)
	if !ok || c.Script != "slots" && c.Script != "renew" || len(list)%2 != 1 {
		return reply
	}
	var pairs []string
	for i := 1; i < len(list); i += 2 {
		pairs = append(pairs, fmt.Sprintf("%q=%q", list[i], list[i+1]))
	}
	slices.Sort(pairs)
	return fmt.Sprint(list[0], pairs)
}

// contents compares what is stored. Ends of keys, here as the time left, may differ by the tolerance.
func (x *comparison) contents(name string, c command.Command, s *memstore.Store, want []memstore.Content, tolerance int64) {
	got := s.Contents()
	now := s.Now() / 1000
	for i := range got {
		if got[i].Expiry != 0 {
			got[i].Expiry -= now
		}
	}
	equal := slices.EqualFunc(got, want, func(a, b memstore.Content) bool {
		return a.Key == b.Key && a.Type == b.Type && slices.Equal(a.Values, b.Values) && (a.Expiry == 0) == (b.Expiry == 0) &&
			max(a.Expiry-b.Expiry, b.Expiry-a.Expiry) <= tolerance
	})
	if !equal {
		x.differ("%s: contents after %v (-%s +memory):\n%s", name, c, name, cmp.Diff(want, got))
	}
}
