package memstore

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	lua "github.com/yuin/gopher-lua"
)

const (
	errWrongType = Error("WRONGTYPE Operation against a key holding the wrong kind of value")
	errReadOnly  = Error("READONLY You can't write against a read only replica.")
	errNoMemory  = Error("OOM command not allowed when used memory > 'maxmemory'.")
	errSyntax    = Error("ERR syntax error")
	errNotInt    = Error("ERR value is not an integer or out of range")
	errNotFloat  = Error("ERR value is not a valid float")
	errMinMax    = Error("ERR min or max is not a float")
)

type replyKind uint8

const (
	nilReply replyKind = iota
	numberReply
	textReply
	statusReply
	listReply
)

// reply is the reply to one Redis command. Elements of a list are strings, or false for nil.
type reply struct {
	kind   replyKind
	number int64
	text   lua.LValue
	list   []lua.LValue
}

func number(n int64) reply        { return reply{kind: numberReply, number: n} }
func textOf(v lua.LValue) reply   { return reply{kind: textReply, text: v} }
func listOf(v []lua.LValue) reply { return reply{kind: listReply, list: v} }

func status() reply { return reply{kind: statusReply, text: lua.LString("OK")} }

// plain is the reply as the client library gives it.
func (r reply) plain() any {
	switch r.kind {
	case numberReply:
		return r.number
	case textReply, statusReply:
		return r.text.String()
	case listReply:
		out := make([]any, len(r.list))
		for i, v := range r.list {
			if text, ok := v.(lua.LString); ok {
				out[i] = string(text)
			}
		}
		return out
	default:
		return nil
	}
}

// redisCommand is one of the commands of a Redis that the store knows.
type redisCommand struct {
	least  int // arguments
	writes bool
	// needsMemory commands are refused when there is none left.
	needsMemory bool
	run         func(s *Store, args []lua.LValue) (reply, error)
}

func find(name string) (redisCommand, bool) {
	switch name {
	case "TIME":
		return redisCommand{0, false, false, (*Store).time}, true
	case "GET":
		return redisCommand{1, false, false, (*Store).get}, true
	case "SET":
		return redisCommand{2, true, true, (*Store).set}, true
	case "DEL":
		return redisCommand{1, true, false, (*Store).del}, true
	case "PTTL":
		return redisCommand{1, false, false, (*Store).pttl}, true
	case "PEXPIRE":
		return redisCommand{2, true, false, (*Store).pexpire}, true
	case "HGET":
		return redisCommand{2, false, false, (*Store).hget}, true
	case "HMGET":
		return redisCommand{2, false, false, (*Store).hmget}, true
	case "HGETALL":
		return redisCommand{1, false, false, (*Store).hgetall}, true
	case "HKEYS":
		return redisCommand{1, false, false, (*Store).hkeys}, true
	case "HSET":
		return redisCommand{3, true, true, (*Store).hset}, true
	case "HDEL":
		return redisCommand{2, true, false, (*Store).hdel}, true
	case "PUBLISH":
		return redisCommand{2, false, false, (*Store).publish}, true
	default:
		return findOfSets(name)
	}
}

// findOfSets finds the commands of sorted sets.
func findOfSets(name string) (redisCommand, bool) {
	switch name {
	case "ZADD":
		return redisCommand{3, true, true, (*Store).zadd}, true
	case "ZREM":
		return redisCommand{2, true, false, (*Store).zrem}, true
	case "ZSCORE":
		return redisCommand{2, false, false, (*Store).zscore}, true
	case "ZRANGEBYSCORE":
		return redisCommand{3, false, false, (*Store).zrangebyscore}, true
	default:
		return redisCommand{}, false
	}
}

// execute carries one Redis command out, on behalf of a client or of a script. All arguments are strings.
func (s *Store) execute(name string, args []lua.LValue, inScript bool) (reply, error) {
	c, known := find(name)
	switch {
	case !known && inScript:
		return reply{}, Error("ERR Unknown Redis command called from script")
	case !known:
		return reply{}, Error(fmt.Sprintf("ERR unknown command '%s'", name))
	case len(args) < c.least:
		return reply{}, Error(fmt.Sprintf("ERR wrong number of arguments for '%s' command", strings.ToLower(name)))
	case c.writes && s.mode == ReadOnly:
		return reply{}, errReadOnly
	case c.needsMemory && s.mode == OutOfMemory && (!inScript || !s.journal.wrote()):
		return reply{}, errNoMemory
	}
	return c.run(s, args)
}

func word(v lua.LValue) string {
	text, _ := v.(lua.LString)
	return string(text)
}

// setEntry makes a key hold another entry, or none.
func (s *Store) setEntry(key string, e *entry) {
	s.journal.add(change{kind: keySet, key: key, entry: s.keys[key]})
	if e == nil {
		delete(s.keys, key)
		return
	}
	s.keys[key] = e
	s.expires(e.expiry)
}

// expires takes note that a key has an expiry.
func (s *Store) expires(at int64) {
	if at != 0 {
		s.nextExpiry = min(s.nextExpiry, at)
	}
}

func (s *Store) time([]lua.LValue) (reply, error) {
	now := s.Now()
	return listOf([]lua.LValue{
		lua.LString(strconv.FormatInt(now/1_000_000, 10)), lua.LString(strconv.FormatInt(now%1_000_000, 10)),
	}), nil
}

func (s *Store) get(args []lua.LValue) (reply, error) {
	e := s.keys[word(args[0])]
	switch {
	case e == nil:
		return reply{}, nil
	case e.text == nil:
		return reply{}, errWrongType
	default:
		return textOf(e.text), nil
	}
}

func (s *Store) set(args []lua.LValue) (reply, error) {
	key := word(args[0])
	e := &entry{text: args[1]}
	onlyNew := false
	for i := 2; i < len(args); i++ {
		switch strings.ToUpper(word(args[i])) {
		case "NX":
			onlyNew = true
		case "PX":
			i++
			if i >= len(args) {
				return reply{}, errSyntax
			}
			ms, err := strconv.ParseInt(word(args[i]), 10, 64)
			if err != nil {
				return reply{}, errNotInt
			}
			if ms <= 0 {
				return reply{}, Error("ERR invalid expire time in 'set' command")
			}
			e.expiry = s.millis() + ms
		default:
			return reply{}, errSyntax
		}
	}
	if onlyNew && s.keys[key] != nil {
		return reply{}, nil
	}
	s.setEntry(key, e)
	return status(), nil
}

func (s *Store) del(args []lua.LValue) (reply, error) {
	var n int64
	for _, arg := range args {
		if key := word(arg); s.keys[key] != nil {
			s.setEntry(key, nil)
			n++
		}
	}
	return number(n), nil
}

func (s *Store) pttl(args []lua.LValue) (reply, error) {
	e := s.keys[word(args[0])]
	switch {
	case e == nil:
		return number(-2), nil
	case e.expiry == 0:
		return number(-1), nil
	default:
		return number(max(e.expiry-s.millis(), 0)), nil
	}
}

func (s *Store) pexpire(args []lua.LValue) (reply, error) {
	key := word(args[0])
	ms, err := strconv.ParseInt(word(args[1]), 10, 64)
	if err != nil {
		return reply{}, errNotInt
	}
	e := s.keys[key]
	switch {
	case e == nil:
		return number(0), nil
	case ms <= 0:
		s.setEntry(key, nil)
	default:
		s.journal.add(change{kind: expirySet, entry: e, number: e.expiry})
		e.expiry = s.millis() + ms
		s.expires(e.expiry)
	}
	return number(1), nil
}

func (s *Store) publish(args []lua.LValue) (reply, error) {
	s.published = append(s.published, Message{word(args[0]), word(args[1])})
	return number(0), nil
}

// parseScore reads a score or a bound.
func parseScore(text string) (float64, bool) {
	switch strings.ToLower(text) {
	case "inf", "+inf":
		return math.Inf(1), true
	case "-inf":
		return math.Inf(-1), true
	}
	f, err := strconv.ParseFloat(text, 64)
	return f, err == nil && !math.IsNaN(f)
}
