package memstore

import (
	"fmt"
	"strconv"
	"strings"

	lua "github.com/yuin/gopher-lua"
)

// hashAt finds the hash of a key; nil if there is none.
func (s *Store) hashAt(key string) (*entry, error) {
	e := s.keys[key]
	if e != nil && e.hash == nil {
		return nil, errWrongType
	}
	return e, nil
}

// setAt finds the sorted set of a key; nil if there is none.
func (s *Store) setAt(key string) (*entry, error) {
	e := s.keys[key]
	if e != nil && e.set == nil {
		return nil, errWrongType
	}
	return e, nil
}

func (s *Store) hget(args []lua.LValue) (reply, error) {
	e, err := s.hashAt(word(args[0]))
	if e == nil || err != nil {
		return reply{}, err
	}
	value, found := e.hash.get(word(args[1]))
	if !found {
		return reply{}, nil
	}
	return textOf(value), nil
}

func (s *Store) hmget(args []lua.LValue) (reply, error) {
	e, err := s.hashAt(word(args[0]))
	if err != nil {
		return reply{}, err
	}
	out := make([]lua.LValue, len(args)-1)
	for i, field := range args[1:] {
		out[i] = lua.LFalse
		if e == nil {
			continue
		}
		if value, found := e.hash.get(word(field)); found {
			out[i] = value
		}
	}
	return listOf(out), nil
}

func (s *Store) hgetall(args []lua.LValue) (reply, error) {
	e, err := s.hashAt(word(args[0]))
	if err != nil {
		return reply{}, err
	}
	if e == nil {
		return listOf(nil), nil
	}
	return listOf(e.hash.pairs), nil // the caller copies
}

func (s *Store) hkeys(args []lua.LValue) (reply, error) {
	e, err := s.hashAt(word(args[0]))
	if err != nil || e == nil {
		return listOf(nil), err
	}
	out := make([]lua.LValue, 0, len(e.hash.pairs)/2)
	for i := 0; i < len(e.hash.pairs); i += 2 {
		out = append(out, e.hash.pairs[i])
	}
	return listOf(out), nil
}

func (s *Store) hset(args []lua.LValue) (reply, error) {
	if len(args)%2 != 1 {
		return reply{}, Error("ERR wrong number of arguments for 'hset' command")
	}
	key := word(args[0])
	e, err := s.hashAt(key)
	if err != nil {
		return reply{}, err
	}
	if e == nil {
		e = &entry{hash: newHash()}
		s.setEntry(key, e)
	}
	var added int64
	for i := 1; i < len(args); i += 2 {
		at, found := e.hash.index[word(args[i])]
		if found {
			s.journal.add(change{kind: fieldSet, entry: e, at: at, value: e.hash.pairs[2*at+1]})
			e.hash.pairs[2*at+1] = args[i+1]
			continue
		}
		s.journal.add(change{kind: fieldAdded, entry: e})
		e.hash.add(args[i], args[i+1])
		added++
	}
	return number(added), nil
}

func (s *Store) hdel(args []lua.LValue) (reply, error) {
	key := word(args[0])
	e, err := s.hashAt(key)
	if e == nil || err != nil {
		return number(0), err
	}
	var removed int64
	for _, field := range args[1:] {
		at, found := e.hash.index[word(field)]
		if !found {
			continue
		}
		s.journal.add(change{kind: fieldRemoved, entry: e, at: at, field: e.hash.pairs[2*at], value: e.hash.pairs[2*at+1]})
		e.hash.remove(at)
		removed++
	}
	if len(e.hash.pairs) == 0 {
		s.setEntry(key, nil)
	}
	return number(removed), nil
}

func (s *Store) zadd(args []lua.LValue) (reply, error) {
	if len(args)%2 != 1 {
		return reply{}, errSyntax
	}
	for i := 1; i < len(args); i += 2 {
		if _, ok := parseScore(word(args[i])); !ok {
			return reply{}, errNotFloat
		}
	}
	key := word(args[0])
	e, err := s.setAt(key)
	if err != nil {
		return reply{}, err
	}
	if e == nil {
		e = &entry{set: newSet()}
		s.setEntry(key, e)
	}
	var added int64
	for i := 1; i < len(args); i += 2 {
		score, _ := parseScore(word(args[i]))
		name := word(args[i+1])
		old, had := e.set.put(name, score)
		s.journal.add(change{kind: memberSet, entry: e, key: name, had: had, score: old})
		if !had {
			added++
		}
	}
	return number(added), nil
}

func (s *Store) zrem(args []lua.LValue) (reply, error) {
	key := word(args[0])
	e, err := s.setAt(key)
	if e == nil || err != nil {
		return number(0), err
	}
	var removed int64
	for _, arg := range args[1:] {
		if score, had := e.set.remove(word(arg)); had {
			s.journal.add(change{kind: memberGone, entry: e, key: word(arg), score: score})
			removed++
		}
	}
	if len(e.set.order) == 0 {
		s.setEntry(key, nil)
	}
	return number(removed), nil
}

func (s *Store) zscore(args []lua.LValue) (reply, error) {
	e, err := s.setAt(word(args[0]))
	if e == nil || err != nil {
		return reply{}, err
	}
	score, found := e.set.scores[word(args[1])]
	if !found {
		return reply{}, nil
	}
	return textOf(lua.LString(strconv.FormatFloat(score, 'f', -1, 64))), nil
}

// bound is one end of a range of scores.
type bound struct {
	score    float64
	excluded bool
}

func parseBound(text string) (bound, bool) {
	rest, excluded := strings.CutPrefix(text, "(")
	score, ok := parseScore(rest)
	return bound{score, excluded}, ok
}

func (s *Store) zrangebyscore(args []lua.LValue) (reply, error) {
	low, ok := parseBound(word(args[1]))
	high, ok2 := parseBound(word(args[2]))
	if !ok || !ok2 {
		return reply{}, errMinMax
	}
	offset, count := 0, -1
	switch {
	case len(args) == 3:
	case len(args) == 6 && strings.EqualFold(word(args[3]), "LIMIT"):
		var err, err2 error
		offset, err = strconv.Atoi(word(args[4]))
		count, err2 = strconv.Atoi(word(args[5]))
		if err != nil || err2 != nil {
			return reply{}, errNotInt
		}
	default:
		return reply{}, Error(fmt.Sprintf("%s: ZRANGEBYSCORE with %d arguments", string(errSyntax), len(args)))
	}
	e, err := s.setAt(word(args[0]))
	if e == nil || err != nil {
		return listOf(nil), err
	}
	return listOf(between(e.set.order, low, high, offset, count)), nil
}

// between gives the names of the members within the bounds, without the first offset, and at most count of them; -1 is no limit.
func between(order []member, low, high bound, offset, count int) []lua.LValue {
	var out []lua.LValue
	for _, m := range order {
		switch {
		case m.score < low.score, low.excluded && m.score == low.score:
		case m.score > high.score, high.excluded && m.score == high.score, count >= 0 && len(out) >= count:
			return out
		case offset > 0:
			offset--
		default:
			out = append(out, lua.LString(m.name))
		}
	}
	return out
}
