package memstore_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"

	"github.com/culvert-tunnel/culvert/pkg/redisstore/command"
	"github.com/culvert-tunnel/culvert/pkg/testkit"
	"github.com/culvert-tunnel/culvert/tests/sim/memstore"
)

// send executes a command by the client library.
func send(ctx context.Context, client *redis.Client, scripts map[string]*redis.Script, c command.Command) (any, error) {
	args := make([]any, len(c.Args))
	for i, a := range c.Args {
		args[i] = a
	}
	var reply any
	var err error
	if c.Script == "" {
		reply, err = client.Do(ctx, args...).Result()
	} else {
		reply, err = scripts[c.Script].Run(ctx, client, c.Keys, args...).Result()
	}
	if errors.Is(err, redis.Nil) {
		return nil, nil
	}
	return reply, err
}

func scriptsWith(prelude string) map[string]*redis.Script {
	scripts := map[string]*redis.Script{}
	for _, name := range command.Scripts() {
		scripts[name] = redis.NewScript(prelude + command.Source(name))
	}
	return scripts
}

// miniServer is a miniredis.
type miniServer struct {
	server  *miniredis.Miniredis
	client  *redis.Client
	scripts map[string]*redis.Script
}

func newMini(tb testing.TB) *miniServer {
	tb.Helper()
	m := &miniServer{server: miniredis.NewMiniRedis(), scripts: scriptsWith("")}
	if err := m.server.Start(); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(m.server.Close)
	m.client = redis.NewClient(&redis.Options{Addr: m.server.Addr(), Protocol: 2, DisableIdentity: true})
	tb.Cleanup(func() { _ = m.client.Close() })
	return m
}

func (m *miniServer) reset(t *testing.T, now int64) {
	t.Helper()
	m.server.FlushAll()
	m.server.SetTime(time.UnixMicro(now))
}

func (m *miniServer) advance(now int64, step time.Duration) {
	m.server.SetTime(time.UnixMicro(now))
	m.server.FastForward(step)
}

func (m *miniServer) do(t *testing.T, c command.Command) (any, error) {
	t.Helper()
	return send(t.Context(), m.client, m.scripts, c)
}

func (m *miniServer) contents(t *testing.T) []memstore.Content {
	t.Helper()
	var out []memstore.Content
	for _, key := range m.server.Keys() {
		c := memstore.Content{Key: key, Type: m.server.Type(key), Expiry: m.server.TTL(key).Milliseconds()}
		switch c.Type {
		case "hash":
			fields, err := m.server.HKeys(key)
			if err != nil {
				t.Fatal(err)
			}
			slices.Sort(fields)
			for _, f := range fields {
				c.Values = append(c.Values, f, m.server.HGet(key, f))
			}
		case "zset":
			scores, err := m.server.SortedSet(key)
			if err != nil {
				t.Fatal(err)
			}
			members, err := m.server.ZMembers(key)
			if err != nil {
				t.Fatal(err)
			}
			for _, member := range members {
				c.Values = append(c.Values, member, strconv.FormatFloat(scores[member], 'g', 17, 64))
			}
		default:
			text, err := m.server.Get(key)
			if err != nil {
				t.Fatal(err)
			}
			c.Values = []string{text}
		}
		out = append(out, c)
	}
	slices.SortFunc(out, func(a, b memstore.Content) int { return strings.Compare(a.Key, b.Key) })
	return out
}

// realServer is a Redis whose scripts see the clock of the test.
type realServer struct {
	client  *redis.Client
	scripts map[string]*redis.Script
	move    *redis.Script
	dump    *redis.Script
}

const (
	// prelude is put before the first line of a script, so that lines keep their numbers.
	prelude = `local server = redis; local redis = {call = function(name, ...) ` +
		`if name == 'TIME' then local clock = {}; ` +
		`for word in string.gmatch(server.call('GET', '` + clockKey + `'), '%d+') do clock[#clock + 1] = word end; return clock end; ` +
		`return server.call(name, ...) end}; `
	// moveSource sets the clock of the test, and moves the ends of all keys the other way.
	moveSource = `redis.call('SET', '` + clockKey + `', ARGV[1])
for _, key in ipairs(redis.call('KEYS', 'cv:*')) do
  local ttl = redis.call('PTTL', key)
  if ttl >= 0 then redis.call('PEXPIRE', key, string.format('%.0f', ttl - tonumber(ARGV[2]))) end
end
return 1`
	dumpSource = `local out = {}
for _, key in ipairs(redis.call('KEYS', 'cv:*')) do
  local kind = redis.call('TYPE', key).ok
  local values
  if kind == 'hash' then values = redis.call('HGETALL', key)
  elseif kind == 'zset' then values = redis.call('ZRANGE', key, 0, -1, 'WITHSCORES')
  else values = {redis.call('GET', key)} end
  out[#out + 1] = {key, kind, redis.call('PTTL', key), values}
end
return out`
)

func newServer(tb testing.TB) *realServer {
	tb.Helper()
	return &realServer{
		client:  redisClient(tb),
		scripts: scriptsWith(prelude),
		move:    redis.NewScript(moveSource),
		dump:    redis.NewScript(dumpSource),
	}
}

// redisClient starts a Redis for the test and connects to it.
func redisClient(tb testing.TB) *redis.Client {
	tb.Helper()
	binary, err := exec.LookPath("redis-server")
	if err != nil {
		if binary, err = exec.LookPath("valkey-server"); err != nil {
			tb.Skip("neither redis-server nor valkey-server is installed")
		}
	}
	dir, err := os.MkdirTemp("", "mem") //nolint:usetesting // a socket's path must be short, t.TempDir's may not be
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = os.RemoveAll(dir) })
	socket := filepath.Join(dir, "s")
	ctx, cancel := context.WithCancel(context.WithoutCancel(tb.Context()))
	cmd := exec.CommandContext(ctx, binary, "--port", "0", "--unixsocket", socket, "--save", "", "--appendonly", "no", "--dir", dir)
	if err := cmd.Start(); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		cancel()
		_ = cmd.Wait() // killed on purpose
	})
	client := redis.NewClient(&redis.Options{Network: "unix", Addr: socket, Protocol: 2, DisableIdentity: true})
	tb.Cleanup(func() { _ = client.Close() })
	testkit.Retry(tb, "connect to the server", testkit.Patience, func() error { return client.Ping(ctx).Err() })
	return client
}

func (r *realServer) reset(t *testing.T, now int64) {
	t.Helper()
	if err := r.client.FlushAll(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	r.advance(t, now, 0)
}

func (r *realServer) advance(t *testing.T, now int64, step time.Duration) {
	t.Helper()
	clock := fmt.Sprintf("%d %d", now/1_000_000, now%1_000_000)
	if err := r.move.Run(t.Context(), r.client, nil, clock, step.Milliseconds()).Err(); err != nil {
		t.Fatal(err)
	}
}

func (r *realServer) do(t *testing.T, c command.Command) (any, error) {
	t.Helper()
	return send(t.Context(), r.client, r.scripts, c)
}

func (r *realServer) contents(t *testing.T) []memstore.Content {
	t.Helper()
	reply, err := r.dump.Run(t.Context(), r.client, nil).Slice()
	if err != nil {
		t.Fatal(err)
	}
	var out []memstore.Content
	for _, item := range reply {
		parts := item.([]any)
		c := memstore.Content{Key: parts[0].(string), Type: parts[1].(string), Expiry: max(parts[2].(int64), 0)}
		for _, v := range parts[3].([]any) {
			c.Values = append(c.Values, v.(string))
		}
		if c.Type == "hash" {
			c.Values = sortPairs(c.Values)
		}
		out = append(out, c)
	}
	slices.SortFunc(out, func(a, b memstore.Content) int { return strings.Compare(a.Key, b.Key) })
	return out
}

func sortPairs(values []string) []string {
	var pairs [][2]string
	for i := 0; i+1 < len(values); i += 2 {
		pairs = append(pairs, [2]string{values[i], values[i+1]})
	}
	slices.SortFunc(pairs, func(a, b [2]string) int { return strings.Compare(a[0], b[0]) })
	out := make([]string, 0, len(values))
	for _, p := range pairs {
		out = append(out, p[0], p[1])
	}
	return out
}
