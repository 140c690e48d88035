package memstore_test

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/culvert-tunnel/culvert/pkg/redisstore/command"
	"github.com/culvert-tunnel/culvert/tests/sim/memstore"
)

// The real TIME has the form that the tests give to scripts, and that the store in memory gives.
func TestTimeOfRedis(t *testing.T) {
	client := redisClient(t)
	before := time.Now().Add(-time.Minute).Unix()
	reply, err := client.Eval(t.Context(), "local time = redis.call('TIME'); return {type(time[1]), time[1], time[2], #time}", nil).Slice()
	if err != nil {
		t.Fatal(err)
	}
	seconds, err := strconv.ParseInt(fmt.Sprint(reply[1]), 10, 64)
	if err != nil || reply[0] != "string" || reply[3] != int64(2) || seconds < before {
		t.Errorf("TIME: %v, %v", reply, err)
	}
	if micros, err := strconv.Atoi(fmt.Sprint(reply[2])); err != nil || micros < 0 || micros > 999_999 {
		t.Errorf("TIME: microseconds %v", reply[2])
	}
	s := memstore.New(start)
	s.ReplaceScript("own", "local time = redis.call('TIME'); return {type(time[1]), time[1], time[2], #time}")
	own, err := s.Do(command.Command{Script: "own"})
	want := []any{"string", strconv.Itoa(start / 1_000_000), strconv.Itoa(start % 1_000_000), int64(2)}
	if diff := cmp.Diff(any(want), own); err != nil || diff != "" {
		t.Errorf("TIME of the store in memory: %v (-want +got):\n%s", err, diff)
	}
}

// A server that is a replica, is out of memory or still loads refuses the same commands with the same words.
func TestModesOfRedis(t *testing.T) {
	client := redisClient(t)
	scripts := scriptsWith("")
	for _, mode := range []struct {
		name   string
		mode   memstore.Mode
		enter  []any
		leave  []any
		errors int
	}{
		{"read-only", memstore.ReadOnly, []any{"replicaof", "127.0.0.1", "1"}, []any{"replicaof", "no", "one"}, 30},
		{"out of memory", memstore.OutOfMemory, []any{"config", "set", "maxmemory", "1"}, []any{"config", "set", "maxmemory", "0"}, 25},
	} {
		t.Run(mode.name, func(t *testing.T) {
			s := memstore.New(time.Now().UnixMicro())
			if err := client.FlushAll(t.Context()).Err(); err != nil {
				t.Fatal(err)
			}
			for _, c := range modeCommands(t) { // so that there is something to change; some of these are damage, and fail
				s.SetNow(time.Now().UnixMicro())
				_, err := s.Do(c)
				_, want := send(t.Context(), client, scripts, c)
				if (err == nil) != (want == nil) {
					t.Fatalf("%v: %v, on Redis %v", c, err, want)
				}
			}
			s.SetMode(mode.mode)
			if err := client.Do(t.Context(), mode.enter...).Err(); err != nil {
				t.Fatal(err)
			}
			refused := 0
			for _, c := range modeCommands(t) {
				s.SetNow(time.Now().UnixMicro()) // as on Redis: what has expired decides what a script writes
				_, err := s.Do(c)
				_, want := send(t.Context(), client, scripts, c)
				if fmt.Sprint(err) != fmt.Sprint(want) {
					t.Errorf("%s:\nmemory %v\nRedis  %v", c.Name(), err, want)
				}
				if err != nil {
					refused++
				}
			}
			if refused < mode.errors {
				t.Errorf("%d commands were refused, want at least %d", refused, mode.errors)
			}
			if err := client.Do(t.Context(), mode.leave...).Err(); err != nil {
				t.Fatal(err)
			}
		})
	}
	s := memstore.New(start)
	s.SetMode(memstore.Loading)
	for _, c := range modeCommands(t) {
		_, err := s.Do(c)
		if loading := err != nil && strings.HasPrefix(err.Error(), "LOADING "); loading == (c.Name() == "publish") {
			t.Errorf("%s while loading: %v", c.Name(), err)
		}
	}
}

// modeCommands are commands of every kind, several of each.
func modeCommands(t *testing.T) []command.Command {
	t.Helper()
	const each = 8
	var out []command.Command
	seen := map[string]int{}
	for seed := uint64(0); len(out) < each*(len(command.Scripts())+5); seed++ {
		w := newWorld(choicesOf(seed, 60))
		for w.more() {
			c := w.next()
			if name := c.Name(); seen[name] < each && name != "del" && name != "hset" {
				seen[name]++
				out = append(out, c)
			}
		}
		if seed > 4000 {
			t.Fatalf("only found %v", seen)
		}
	}
	return out
}
