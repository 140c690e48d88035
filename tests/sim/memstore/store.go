package memstore

import (
	"maps"
	"math"
	"slices"
	"strings"

	lua "github.com/yuin/gopher-lua"

	"github.com/culvert-tunnel/culvert/pkg/redisstore/command"
)

// Error is an error reply of the store. A client of a Redis sees the same text.
type Error string

// Error is the reply.
func (e Error) Error() string { return string(e) }

// RedisError marks the error as a reply, as those of the client library are.
func (e Error) RedisError() {}

// Mode is the condition of the server.
type Mode uint8

// The conditions.
const (
	// Healthy executes everything.
	Healthy Mode = iota
	// ReadOnly refuses writes, as a replica does.
	ReadOnly
	// OutOfMemory refuses writes that need memory, unless a script has written before.
	OutOfMemory
	// Loading refuses everything but messages, as a server does that has just started.
	Loading
)

// Message is something that was published.
type Message struct{ Channel, Text string }

// Store is the memory of one server.
type Store struct {
	interpreter *Interpreter
	scripts     map[string]string // those that differ from the embedded ones

	now    int64 // microseconds since 1970, by the caller's clock
	offset int64 // of this server's clock
	mode   Mode

	keys map[string]*entry
	// nextExpiry is not after the first expiry of a key, in milliseconds.
	nextExpiry int64

	published []Message
	journal   journal
	args      []lua.LValue // reused
}

// New makes an empty store with an interpreter of its own. now is the time in microseconds since 1970.
func New(now int64) *Store { return NewInterpreter().NewStore(now) }

// NewStore makes an empty store that shares the interpreter with others. now is the time in microseconds since 1970.
func (i *Interpreter) NewStore(now int64) *Store {
	return &Store{interpreter: i, now: now, keys: map[string]*entry{}, nextExpiry: math.MaxInt64}
}

// SetNow sets the caller's clock, in microseconds since 1970. It may go back.
func (s *Store) SetNow(now int64) { s.now = now }

// Now is the time by the server's clock, in microseconds since 1970.
func (s *Store) Now() int64 { return s.now + s.offset }

// SetMode changes the condition of the server.
func (s *Store) SetMode(m Mode) { s.mode = m }

// ReplaceScript makes this store execute another text instead of an embedded script.
func (s *Store) ReplaceScript(name, text string) {
	if s.scripts == nil {
		s.scripts = map[string]string{}
	}
	s.scripts[name] = text
}

// Do executes a command. Its reply is a string, an int64, nil, or an []any of these; its error is an Error.
func (s *Store) Do(c command.Command) (reply any, err error) {
	if s.mode == Loading && c.Name() != "publish" {
		return nil, Error("LOADING Redis is loading the dataset in memory")
	}
	s.journal.begin()
	s.collect()
	if c.Script == "" {
		return s.doPlain(c.Args)
	}
	text, replaced := s.scripts[c.Script]
	if !replaced {
		text = s.interpreter.embedded(c.Script)
	}
	if text == "" {
		return nil, Error("NOSCRIPT No matching script.")
	}
	return s.interpreter.run(s, text, c.Keys, c.Args)
}

func (s *Store) doPlain(words []string) (any, error) {
	if len(words) == 0 {
		return nil, Error("ERR empty command")
	}
	s.args = s.args[:0]
	for _, w := range words[1:] {
		s.args = append(s.args, lua.LString(w))
	}
	r, err := s.execute(strings.ToUpper(words[0]), s.args, false)
	if err != nil {
		return nil, err
	}
	return r.plain(), nil
}

// Messages are those published since the last call.
func (s *Store) Messages() []Message {
	out := s.published
	s.published = nil
	return out
}

// Flush empties the store, as a server that comes back without its data.
func (s *Store) Flush() { s.reset(map[string]*entry{}) }

// Failover makes a replica the server that had not received the last lost writes yet, and whose clock differs from the
// caller's by offset microseconds. It returns how many writes were lost: not more than there were, and at most KeptWrites. A
// write is a command that changed something; a script is one.
func (s *Store) Failover(lost int, offset int64) int {
	n := s.journal.undo(s, lost)
	s.offset = offset
	s.mode = Healthy
	s.nextExpiry = 0
	return n
}

// Writes is the number of commands that changed something.
func (s *Store) Writes() uint64 { return s.journal.count }

// Snapshot is a copy of what a store holds.
type Snapshot struct{ keys map[string]*entry }

// Snapshot copies what the store holds. Its clock and condition are no part of it.
func (s *Store) Snapshot() Snapshot { return Snapshot{copyOf(s.keys)} }

// Restore replaces what the store holds by a copy that was made before, as a server that starts from an old file.
func (s *Store) Restore(from Snapshot) { s.reset(copyOf(from.keys)) }

func (s *Store) reset(keys map[string]*entry) {
	s.keys = keys
	s.journal.clear()
	s.nextExpiry = 0
}

func copyOf(keys map[string]*entry) map[string]*entry {
	out := make(map[string]*entry, len(keys))
	for name, e := range keys {
		out[name] = e.clone()
	}
	return out
}

// Content is one key with what it holds.
type Content struct {
	Key, Type string
	// Values are the text of a string, field and value of a hash by field, or member and score of a sorted set in its order.
	Values []string
	// Expiry is when the key ends, in milliseconds since 1970 of the server's clock; 0 for never.
	Expiry int64
}

// Contents lists all keys by name.
func (s *Store) Contents() []Content {
	s.collect()
	out := make([]Content, 0, len(s.keys))
	for _, name := range slices.Sorted(maps.Keys(s.keys)) {
		out = append(out, s.keys[name].content(name))
	}
	return out
}

// millis is the server's time as expiries are compared with it.
func (s *Store) millis() int64 {
	us := s.Now()
	ms := us / 1000
	if us%1000 < 0 {
		ms--
	}
	return ms
}

// collect removes the keys that have expired.
func (s *Store) collect() {
	now := s.millis()
	if now <= s.nextExpiry {
		return
	}
	next := int64(math.MaxInt64)
	for name, e := range s.keys {
		switch {
		case e.expiry == 0:
		case now > e.expiry:
			s.journal.dropped(name, e)
			delete(s.keys, name)
		default:
			next = min(next, e.expiry)
		}
	}
	s.nextExpiry = next
}
