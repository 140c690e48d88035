package memstore

import (
	"cmp"
	"maps"
	"slices"
	"strconv"

	lua "github.com/yuin/gopher-lua"
)

// entry is what a key holds: one of text, hash and set. Values are kept as Lua values, so that scripts read and write them
// without a copy.
type entry struct {
	text   lua.LValue
	hash   *hash
	set    *set
	expiry int64 // milliseconds since 1970; 0 for never
}

func (e *entry) clone() *entry {
	c := *e
	if e.hash != nil {
		c.hash = &hash{index: maps.Clone(e.hash.index), pairs: slices.Clone(e.hash.pairs)}
	}
	if e.set != nil {
		c.set = &set{scores: maps.Clone(e.set.scores), order: slices.Clone(e.set.order)}
	}
	return &c
}

func (e *entry) content(name string) Content {
	c := Content{Key: name, Expiry: e.expiry}
	switch {
	case e.hash != nil:
		c.Type = "hash"
		for _, field := range slices.Sorted(maps.Keys(e.hash.index)) {
			c.Values = append(c.Values, field, e.hash.pairs[2*e.hash.index[field]+1].String())
		}
	case e.set != nil:
		c.Type = "zset"
		for _, m := range e.set.order {
			c.Values = append(c.Values, m.name, formatScore(m.score))
		}
	default:
		c.Type = "string"
		c.Values = []string{e.text.String()}
	}
	return c
}

// hash keeps its fields in the order in which they were added.
type hash struct {
	index map[string]int
	pairs []lua.LValue // field, value, ...
}

func newHash() *hash { return &hash{index: map[string]int{}} }

func (h *hash) get(field string) (lua.LValue, bool) {
	i, found := h.index[field]
	if !found {
		return nil, false
	}
	return h.pairs[2*i+1], true
}

// add appends a field that is not there.
func (h *hash) add(field, value lua.LValue) {
	h.index[field.String()] = len(h.pairs) / 2
	h.pairs = append(h.pairs, field, value)
}

// remove takes the field at a position out.
func (h *hash) remove(at int) {
	delete(h.index, h.pairs[2*at].String())
	h.pairs = slices.Delete(h.pairs, 2*at, 2*at+2)
	h.renumber(at)
}

// insert puts a field at a position.
func (h *hash) insert(at int, field, value lua.LValue) {
	h.pairs = slices.Insert(h.pairs, 2*at, field, value)
	h.renumber(at)
}

func (h *hash) renumber(from int) {
	for i := from; i < len(h.pairs)/2; i++ {
		h.index[h.pairs[2*i].String()] = i
	}
}

// member is one of a sorted set.
type member struct {
	name  string
	score float64
}

func compareMembers(a, b member) int {
	return cmp.Or(cmp.Compare(a.score, b.score), cmp.Compare(a.name, b.name))
}

// set is a sorted set.
type set struct {
	scores map[string]float64
	order  []member
}

func newSet() *set { return &set{scores: map[string]float64{}} }

// put adds a member or changes its score, and returns what was there.
func (z *set) put(name string, score float64) (old float64, had bool) {
	old, had = z.remove(name)
	m := member{name, score}
	at, _ := slices.BinarySearchFunc(z.order, m, compareMembers)
	z.order = slices.Insert(z.order, at, m)
	z.scores[name] = score
	return old, had
}

// remove takes a member out.
func (z *set) remove(name string) (old float64, had bool) {
	old, had = z.scores[name]
	if !had {
		return 0, false
	}
	at, _ := slices.BinarySearchFunc(z.order, member{name, old}, compareMembers)
	z.order = slices.Delete(z.order, at, at+1)
	delete(z.scores, name)
	return old, true
}

func formatScore(f float64) string { return strconv.FormatFloat(f, 'g', 17, 64) }
