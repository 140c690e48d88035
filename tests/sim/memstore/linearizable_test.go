package memstore_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
	"github.com/redis/go-redis/v9"

	"github.com/culvert-tunnel/culvert/pkg/lease"
	"github.com/culvert-tunnel/culvert/pkg/redisstore/command"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
	"github.com/culvert-tunnel/culvert/tests/sim/memstore"
)

// client makes the calls of one worker, and of a supervisor that grants to it.
type client struct {
	worker string
	random *rand.Rand
	calls  int
	// seen are the newest epochs that the client knows.
	seen map[tunnel.ConnIndex]tunnel.Epoch
}

func newClient(seed uint64, n int) *client {
	return &client{
		worker: fmt.Sprint("w", n), random: rand.New(rand.NewPCG(seed, uint64(n))), seen: map[tunnel.ConnIndex]tunnel.Epoch{},
	}
}

func (c *client) next() input {
	c.calls++
	in := input{
		verb: []verb{doGrant, doGrant, doRenew, doRenew, doRenew, doRelease}[c.random.IntN(6)], worker: c.worker,
		index: tunnel.ConnIndex(c.random.IntN(2)), mark: fmt.Sprintf("%s-%d", c.worker, c.calls),
	}
	in.epoch = c.seen[in.index]
	if in.epoch > 0 && c.random.IntN(8) == 0 {
		in.epoch-- // an older one
	}
	return in
}

// request is the command of a call, and how its reply is read.
func (in input) request() (command.Command, func(reply any, err error) (output, error)) {
	slot := slotOf(int(in.index))
	switch in.verb {
	case doGrant:
		// Each index has an address of its own, so that only epochs are in conflict.
		r, err := command.Grant(lease.Grant{Slot: slot, Worker: tunnel.WorkerID(in.worker), Edge: edgeOf(int(in.index))}, in.epoch, time.Hour)
		return sent(r, err), func(reply any, err error) (output, error) {
			g, err := decode(r, reply, err)
			out := output{err: err, epoch: g.Epoch}
			if list, ok := reply.([]any); ok && len(list) == 2 {
				_, err := fmt.Sscan(fmt.Sprint(list[1]), &out.epoch)
				return out, err
			}
			return out, infrastructure(err)
		}
	case doRenew:
		report := lease.Report{Index: in.index, Epoch: in.epoch, Status: lease.Status{State: lease.StateConnected, Location: in.mark}}
		r, err := command.Renew(slot.Tunnel, slot.Connector, tunnel.WorkerID(in.worker), []lease.Report{report}, time.Hour)
		return sent(r, err), func(reply any, err error) (output, error) {
			table, err := decode(r, reply, err)
			out := output{err: err}
			for _, record := range table.Records {
				if record.Slot.Index == in.index {
					out.epoch, out.worker = record.Epoch, string(record.Worker)
					if record.Status.State != lease.StateFree {
						out.status = fmt.Sprint(record.Status.State, " ", record.Status.Location)
					}
				}
			}
			return out, infrastructure(err)
		}
	default:
		r := command.Release(slot, tunnel.WorkerID(in.worker), in.epoch)
		return r.Command, func(reply any, err error) (output, error) {
			_, err = decode(r, reply, err)
			return output{err: err}, infrastructure(err)
		}
	}
}

func decode[T any](r command.Request[T], reply any, err error) (T, error) {
	if err != nil {
		var none T
		return none, err
	}
	return r.Decode(reply)
}

// infrastructure is an error that is no result of an operation.
func infrastructure(err error) error {
	if errors.Is(err, tunnel.ErrConflict) || errors.Is(err, tunnel.ErrFenced) || errors.Is(err, tunnel.ErrNotFound) {
		return nil
	}
	return err
}

func (c *client) learn(in input, out output) {
	if !out.lost && out.epoch > 0 {
		c.seen[in.index] = out.epoch
	}
}

// verdict checks a history against the model.
func verdict(t *testing.T, history []porcupine.Operation) porcupine.CheckResult {
	t.Helper()
	result := porcupine.CheckOperationsTimeout(slotModel(), history, 20*time.Second)
	if result == porcupine.Unknown {
		t.Errorf("a history of %d operations could not be checked in time", len(history))
	}
	return result
}

func printHistory(t *testing.T, history []porcupine.Operation) {
	t.Helper()
	history = slices.Clone(history)
	slices.SortFunc(history, func(a, b porcupine.Operation) int { return int(a.Call - b.Call) })
	for _, o := range history {
		t.Logf("client %d, %d to %d: %s", o.ClientId, o.Call, o.Return, describe(o.Input.(input), o.Output.(output)))
	}
}

const (
	historyClients = 4
	historyCalls   = 12 // of each client
)

// memoryHistory makes a history on the store in memory: calls of several clients that overlap in virtual time. One of eight
// replies is lost, and one of eight commands is executed long after the client gave it up.
func memoryHistory(t *testing.T, seed uint64, s *memstore.Store) []porcupine.Operation {
	t.Helper()
	type event struct {
		at  int64
		run func()
	}
	var events []event
	now := int64(0)
	after := func(delay int64, run func()) { events = append(events, event{now + delay, run}) }
	var history []porcupine.Operation
	random := rand.New(rand.NewPCG(seed, 1000))
	var call func(c *client)
	call = func(c *client) {
		if c.calls == historyCalls {
			return
		}
		in := c.next()
		cmd, read := in.request()
		called := now
		execute := func() output {
			s.SetNow(start + now)
			out, err := read(s.Do(cmd))
			if err != nil {
				t.Fatal(err)
			}
			return out
		}
		there, back := 1+random.Int64N(2000), 1+random.Int64N(2000)
		switch random.IntN(8) {
		case 0, 1:
			late := int64(0)
			if random.IntN(2) == 0 {
				late = random.Int64N(20_000)
			}
			after(there+late, func() { execute() })
			history = append(history, porcupine.Operation{
				ClientId: len(history), Input: in, Call: called, Output: output{lost: true}, Return: math.MaxInt64,
			})
			after(there+back, func() { call(c) })
		default:
			after(there, func() {
				out := execute()
				after(back, func() {
					c.learn(in, out)
					history = append(history, porcupine.Operation{ClientId: len(history), Input: in, Call: called, Output: out, Return: now})
					after(1+random.Int64N(1000), func() { call(c) })
				})
			})
		}
	}
	for n := range historyClients {
		c := newClient(seed, n)
		after(random.Int64N(1000), func() { call(c) })
	}
	for len(events) > 0 {
		first := 0
		for i := range events {
			if events[i].at < events[first].at {
				first = i
			}
		}
		e := events[first]
		events = slices.Delete(events, first, first+1)
		now = e.at
		e.run()
	}
	return history
}

// Histories of concurrent clients on the store in memory are those of a sequential slot.
func TestLinearizableInMemory(t *testing.T) {
	interpreter := memstore.NewInterpreter()
	for seed := range uint64(300) {
		history := memoryHistory(t, seed, interpreter.NewStore(start))
		if verdict(t, history) != porcupine.Ok {
			printHistory(t, history)
			t.Fatalf("history %d is not linearizable", seed)
		}
	}
}

// brokenScripts are scripts without one of the rules that make a slot what it is.
func brokenScripts(t *testing.T) map[string]map[string]string {
	t.Helper()
	broken := map[string]map[string]string{}
	plant := func(what, script, old, instead string) {
		text := command.Source(script)
		if strings.Count(text, old) != 1 {
			t.Fatalf("script %s contains %q %d times, want once", script, old, strings.Count(text, old))
		}
		broken[what] = map[string]string{script: strings.Replace(text, old, instead, 1)}
	}
	plant("grant without compare-and-set", "grant", "if tonumber(stored) ~= tonumber(ARGV[6]) then", "if false then")
	plant("epoch that does not grow", "grant", "math.max(tonumber(stored) + 1, tonumber(ARGV[16]) + 1, now)", "math.max(tonumber(stored), 1)")
	plant("renewal with an older epoch", "renew", "if epoch < have or ", "if ")
	plant("renewal by another worker", "renew", "if not claim and worker ~= ARGV[1] then", "if false then")
	plant("release with an older epoch", "release", "if have > epoch then", "if false then")
	plant("release by another worker", "release", "if stored[2] ~= ARGV[2] then", "if false then")
	return broken
}

// A script without one of its rules is found.
func TestBrokenScriptsAreFound(t *testing.T) {
	interpreter := memstore.NewInterpreter()
	for what, scripts := range brokenScripts(t) {
		found := uint64(0)
		for seed := range uint64(300) {
			s := interpreter.NewStore(start)
			for name, text := range scripts {
				s.ReplaceScript(name, text)
			}
			if verdict(t, memoryHistory(t, seed, s)) == porcupine.Illegal {
				found = seed + 1
				break
			}
		}
		if found == 0 {
			t.Errorf("%s: not found in 300 histories", what)
			continue
		}
		t.Logf("%s: found in history %d", what, found)
	}
}

// redisHistory makes a history on a Redis by clients that run at the same time, with the same faults as memoryHistory.
func redisHistory(t *testing.T, seed uint64, server *redis.Client, scripts map[string]*redis.Script) []porcupine.Operation {
	t.Helper()
	if err := server.FlushAll(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var history []porcupine.Operation
	began := time.Now()
	record := func(in input, called int64, out output, returned int64) {
		mu.Lock()
		defer mu.Unlock()
		history = append(history, porcupine.Operation{ClientId: len(history), Input: in, Call: called, Output: out, Return: returned})
	}
	ctx := context.WithoutCancel(t.Context())
	var running sync.WaitGroup
	for n := range historyClients {
		running.Go(func() {
			c := newClient(seed, n)
			for range historyCalls {
				in := c.next()
				cmd, read := in.request()
				execute := func() output {
					out, err := read(send(ctx, server, scripts, cmd))
					if err != nil {
						t.Error(err)
					}
					return out
				}
				called := time.Since(began).Nanoseconds()
				switch c.random.IntN(8) {
				case 0:
					execute()
					record(in, called, output{lost: true}, math.MaxInt64)
				case 1:
					record(in, called, output{lost: true}, math.MaxInt64)
					yields := c.random.IntN(200)
					running.Go(func() {
						for range yields {
							runtime.Gosched()
						}
						execute()
					})
				default:
					out := execute()
					record(in, called, out, time.Since(began).Nanoseconds())
					c.learn(in, out)
				}
			}
		})
	}
	running.Wait()
	return history
}

// Histories of concurrent clients of a Redis are those of a sequential slot, and a grant that does not compare the epoch is found.
func TestLinearizableOnRedis(t *testing.T) {
	server := redisClient(t)
	scripts := scriptsWith("")
	for seed := range uint64(100) {
		history := redisHistory(t, seed, server, scripts)
		if verdict(t, history) != porcupine.Ok {
			printHistory(t, history)
			t.Fatalf("history %d is not linearizable", seed)
		}
	}
	for name, text := range brokenScripts(t)["grant without compare-and-set"] {
		scripts[name] = redis.NewScript(text)
	}
	for seed := range uint64(300) {
		if verdict(t, redisHistory(t, seed, server, scripts)) == porcupine.Illegal {
			t.Logf("grant without compare-and-set: found in history %d", seed+1)
			return
		}
	}
	t.Error("grant without compare-and-set: not found in 300 histories")
}
