package sim

import (
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/redisstore/command"
	"github.com/culvert-tunnel/culvert/tests/sim/memstore"
)

// callTimeout is the bound of a call to the store, as in package redisstore.
const callTimeout = 2 * time.Second

// Errors of calls.
var (
	errNoResponse = errors.New("no response in time")
	errRefused    = errors.New("connection refused")
	errShardDown  = errors.New("CLUSTERDOWN Hash slot not served")
)

// server is the store's server, and what is wrong with it.
type server struct {
	cluster *Cluster
	db      *memstore.Store
	mode    memstore.Mode
	// shards lists parts of keys: commands on such keys fail.
	shards []string
	// saved are the states kept for a later restore, by the place of the fault in the plan.
	saved map[int]memstore.Snapshot
	// damaged says which tunnels and slots have a record that cannot be read, for good: "t1", "t1/0".
	damaged []string
	// changed is when data was last lost or rewound, or the clock stepped; zero is never.
	changed time.Time
}

// do executes a command.
func (s *server) do(c command.Command) (any, error) {
	for _, part := range s.shards {
		if slices.ContainsFunc(c.Keys, func(k string) bool { return strings.Contains(k, part) }) {
			return nil, errShardDown
		}
	}
	s.db.SetNow(s.cluster.engine.Now().UnixMicro())
	return s.db.Do(c)
}

// plain executes a command past all that is wrong, to damage a record or to look at one.
func (s *server) plain(words ...string) any {
	s.db.SetNow(s.cluster.engine.Now().UnixMicro())
	s.db.SetMode(memstore.Healthy)
	reply, _ := s.db.Do(command.Command{Args: words}) // a key of another type stays as it is
	s.db.SetMode(s.mode)
	return reply
}

// hash reads all fields of a hash.
func (s *server) hash(key string) map[string]string {
	list, _ := s.plain("hgetall", key).([]any)
	fields := make(map[string]string, len(list)/2)
	for i := 0; i+1 < len(list); i += 2 {
		field, _ := list[i].(string)
		fields[field], _ = list[i+1].(string)
	}
	return fields
}

func (s *server) setMode(m memstore.Mode) {
	s.mode = m
	s.db.SetMode(m)
}

// lost notes that the server has other data, or another clock, than a moment before. Its connections break.
func (s *server) lost() {
	s.changed = s.cluster.engine.Now()
	s.cluster.dropWatches()
}

// listens reports whether the server accepts subscriptions.
func (s *server) listens() bool { return s.mode != memstore.Loading }

// well reports whether the store works for keys that contain part.
func (s *server) well(part string) bool {
	return s.mode == memstore.Healthy && !slices.Contains(s.shards, part)
}
