package share_test

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/culvert-tunnel/culvert/services/edge/internal/share"
)

func TestNetwork(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, addr, want string }{
		{"ipv4", "192.0.2.7", "192.0.2.7/32"},
		{"ipv4 mapped into ipv6", "::ffff:192.0.2.7", "192.0.2.7/32"},
		{"ipv6", "2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"},
		{"ipv6 with zone", "fe80::1%eth0", "fe80::/64"},
		{"ipv6 loopback", "::1", "::/64"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if got := share.Network(netip.MustParseAddr(c.addr)); got.String() != c.want {
				t.Errorf("Network(%s) = %v, want %s", c.addr, got, c.want)
			}
		})
	}
	if got := share.Network(netip.Addr{}); got != (netip.Prefix{}) {
		t.Errorf("Network(invalid) = %v, want the zero prefix", got)
	}
}

func TestCounterTakesAllOrNothing(t *testing.T) {
	t.Parallel()
	c := share.NewCounter[string](share.Limits{Total: 10, PerKey: 6})
	for i, step := range []struct {
		key  string
		n    int64
		want share.Verdict
	}{
		{"a", 4, share.Granted},
		{"a", 3, share.OverShare},
		{"a", 2, share.Granted},
		{"b", 5, share.Full},
		{"b", 4, share.Granted},
		{"b", 1, share.Full},
		{"b", 9, share.OverShare},
		{"c", 0, share.Granted},
	} {
		if got := c.Take(step.key, step.n); got != step.want {
			t.Errorf("step %d: Take(%s, %d) = %v, want %v", i, step.key, step.n, got, step.want)
		}
	}
	c.Give("a", 100)
	if c.Used("a") != 0 || c.Total() != 4 || c.Keys() != 1 {
		t.Errorf("after Give: a has %d, total %d, %d keys; want 0, 4, 1", c.Used("a"), c.Total(), c.Keys())
	}
}

func TestTableEvictsTheOldestPendingEntryOfAKeyAtItsShare(t *testing.T) {
	t.Parallel()
	table := share.NewTable[string, int](share.Limits{Total: 10, PerKey: 2})
	other, _, _ := table.Admit("b", 0)
	first, _, _ := table.Admit("a", 1)
	second, _, _ := table.Admit("a", 2)
	third, evicted, verdict := table.Admit("a", 3)
	if verdict != share.Granted || evicted != first {
		t.Fatalf("third of a: verdict %v, evicted %+v; want the first of a", verdict, evicted)
	}
	if table.Pin(first) {
		t.Error("Pin of an evicted entry reports true")
	}
	table.Pin(second)
	table.Pin(third)
	if _, evicted, verdict = table.Admit("a", 4); verdict != share.OverShare || evicted != nil {
		t.Errorf("with all of a pinned: verdict %v, evicted %+v; want share and none", verdict, evicted)
	}
	table.Unpin(second)
	if _, evicted, _ = table.Admit("a", 5); evicted != second {
		t.Errorf("after Unpin: evicted %+v, want the second of a", evicted)
	}
	if !table.Pin(other) {
		t.Error("the entry of another key was evicted")
	}
}

func TestTableEvictsTheOldestPendingEntryOfAllWhenItIsFull(t *testing.T) {
	t.Parallel()
	table := share.NewTable[string, int](share.Limits{Total: 2})
	pinned, _, _ := table.Admit("a", 1)
	table.Pin(pinned)
	pending, _, _ := table.Admit("a", 2)
	b, evicted, verdict := table.Admit("b", 3)
	if verdict != share.Granted || evicted != pending {
		t.Fatalf("verdict %v, evicted %+v; want the pending entry of a", verdict, evicted)
	}
	table.Pin(b)
	if _, evicted, verdict = table.Admit("c", 4); verdict != share.Full || evicted != nil {
		t.Errorf("with all pinned: verdict %v, evicted %+v; want total and none", verdict, evicted)
	}
	table.Leave(b)
	table.Leave(b)
	if _, _, verdict = table.Admit("c", 5); verdict != share.Granted || table.Len() != 2 {
		t.Errorf("after Leave: verdict %v with %d entries, want granted with 2", verdict, table.Len())
	}
}

// model is the table, written as slowly and plainly as possible.
type model struct {
	limits  share.Limits
	entries []*modelEntry // by age
}

type modelEntry struct {
	key    byte
	value  int
	pinned bool
}

func (m *model) of(k byte) (n int64) {
	for _, e := range m.entries {
		if e.key == k {
			n++
		}
	}
	return n
}

func (m *model) admit(k byte, v int) (evicted int, verdict share.Verdict) {
	evicted = -1
	over := m.limits.PerKey > 0 && m.of(k) >= m.limits.PerKey
	if over || int64(len(m.entries)) >= m.limits.Total {
		i := slices.IndexFunc(m.entries, func(e *modelEntry) bool { return !e.pinned && (!over || e.key == k) })
		if i < 0 {
			if over {
				return -1, share.OverShare
			}
			return -1, share.Full
		}
		evicted = m.entries[i].value
		m.entries = slices.Delete(m.entries, i, i+1)
	}
	m.entries = append(m.entries, &modelEntry{key: k, value: v})
	return evicted, share.Granted
}

// find is the position of a value, or -1.
func (m *model) find(v int) int {
	return slices.IndexFunc(m.entries, func(e *modelEntry) bool { return e.value == v })
}

func FuzzTableBehavesAsItsModel(f *testing.F) {
	f.Add(uint8(3), uint8(2), []byte{0, 0, 0, 1, 64, 128, 192, 0, 1, 2, 3, 4, 65, 130})
	f.Add(uint8(1), uint8(0), []byte{0, 64, 0, 128, 0, 192, 0})
	f.Add(uint8(8), uint8(3), []byte("a long list of bytes with many repetitions: aaaaaaaaaaaaaabbbbbbbbbbbbbcccccccccc"))
	f.Fuzz(func(t *testing.T, total, perKey uint8, ops []byte) {
		limits := share.Limits{Total: int64(total%16) + 1, PerKey: int64(perKey % 8)}
		table, m := share.NewTable[byte, int](limits), &model{limits: limits}
		var all []*share.Entry[byte, int]
		for i, op := range ops {
			if kind, arg := op>>6, op&63; kind == 0 {
				entry, evicted, verdict := table.Admit(arg%4, len(all))
				wantEvicted, wantVerdict := m.admit(arg%4, len(all))
				if got := valueOf(evicted); got != wantEvicted || verdict != wantVerdict {
					t.Fatalf("op %d: evicted %d with %v, want %d with %v", i, got, verdict, wantEvicted, wantVerdict)
				}
				if entry != nil {
					all = append(all, entry)
				}
			} else if len(all) > 0 {
				change(t, table, m, all[int(arg)%len(all)], kind)
			}
			compare(t, table, m)
		}
	})
}

// change applies one operation on an entry to both.
func change(t *testing.T, table *share.Table[byte, int], m *model, e *share.Entry[byte, int], kind byte) {
	t.Helper()
	i := m.find(e.Value)
	switch kind {
	case 1:
		if got := table.Pin(e); got != (i >= 0) {
			t.Fatalf("Pin = %v, want %v", got, i >= 0)
		}
		if i >= 0 {
			m.entries[i].pinned = true
		}
	case 2:
		if got := table.Unpin(e); got != (i >= 0) {
			t.Fatalf("Unpin = %v, want %v", got, i >= 0)
		}
		if i >= 0 && m.entries[i].pinned { // the youngest of the pending ones
			old := m.entries[i]
			old.pinned = false
			m.entries = append(slices.Delete(m.entries, i, i+1), old)
		}
	default:
		table.Leave(e)
		if i >= 0 {
			m.entries = slices.Delete(m.entries, i, i+1)
		}
	}
}

func compare(t *testing.T, table *share.Table[byte, int], m *model) {
	t.Helper()
	pending := 0
	keys := make(map[byte]bool)
	for _, e := range m.entries {
		keys[e.key] = true
		if !e.pinned {
			pending++
		}
		if int64(table.Of(e.key)) != m.of(e.key) {
			t.Fatalf("Of(%d) = %d, want %d", e.key, table.Of(e.key), m.of(e.key))
		}
	}
	if table.Len() != len(m.entries) || table.Pending() != pending || table.Keys() != len(keys) {
		t.Fatalf("%d entries, %d pending, %d keys; want %d, %d, %d", table.Len(), table.Pending(), table.Keys(), len(m.entries), pending,
			len(keys))
	}
}

func valueOf(e *share.Entry[byte, int]) int {
	if e == nil {
		return -1
	}
	return e.Value
}

func FuzzCounterNeverExceedsItsLimits(f *testing.F) {
	f.Add(uint16(100), uint16(30), []byte{1, 2, 3, 200, 100, 50})
	f.Fuzz(func(t *testing.T, total, perKey uint16, ops []byte) {
		limits := share.Limits{Total: int64(total), PerKey: int64(perKey)}
		c := share.NewCounter[byte](limits)
		held := make(map[byte]int64)
		for _, op := range ops {
			k, n := op&3, int64(op>>3)
			if op&4 == 0 {
				if c.Take(k, n) == share.Granted {
					held[k] += n
				}
			} else {
				c.Give(k, n)
				held[k] = max(0, held[k]-n)
			}
			var sum int64
			for k, v := range held {
				sum += v
				if c.Used(k) != v || limits.PerKey > 0 && v > limits.PerKey {
					t.Fatalf("key %d has %d, want %d within %d", k, c.Used(k), v, limits.PerKey)
				}
			}
			if c.Total() != sum || sum > limits.Total {
				t.Fatalf("total %d, want %d within %d", c.Total(), sum, limits.Total)
			}
		}
	})
}
