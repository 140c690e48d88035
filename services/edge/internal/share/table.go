package share

import "container/list"

// Table holds entries within Limits. Not safe for concurrent use.
type Table[K comparable, V any] struct {
	counter *Counter[K]
	// pending are the entries that may be evicted, the oldest first; byKey are those of each key.
	pending list.List
	byKey   map[K]*list.List
}

// Entry is a place in a table.
type Entry[K comparable, V any] struct {
	// Key and Value are those of Admit.
	Key   K
	Value V

	// inAll and inKey are the positions of a pending entry; a pinned one has none.
	inAll, inKey *list.Element
	gone         bool
}

// NewTable makes an empty table.
func NewTable[K comparable, V any](limits Limits) *Table[K, V] {
	return &Table[K, V]{counter: NewCounter[K](limits), byKey: make(map[K]*list.List)}
}

// Admit makes a pending entry for a key. When the key has used up its share, the key's own oldest pending entry makes room;
// when the total is used up, the oldest pending entry of all does. The evicted entry, or nil, has left the table already and
// is the caller's to close. Without an entry to evict there is no new entry, and the verdict says which bound was reached.
func (t *Table[K, V]) Admit(k K, v V) (entry, evicted *Entry[K, V], verdict Verdict) {
	verdict = t.counter.Take(k, 1)
	if verdict != Granted {
		if evicted = t.oldest(k, verdict); evicted == nil {
			return nil, nil, verdict
		}
		t.Leave(evicted)
		verdict = t.counter.Take(k, 1)
	}
	if verdict != Granted { // a total below the share, or no place at all
		return nil, evicted, verdict
	}
	entry = &Entry[K, V]{Key: k, Value: v}
	t.enqueue(entry)
	return entry, evicted, Granted
}

// oldest is the pending entry that makes room after a verdict.
func (t *Table[K, V]) oldest(k K, verdict Verdict) *Entry[K, V] {
	from := &t.pending
	if verdict == OverShare {
		if from = t.byKey[k]; from == nil {
			return nil
		}
	}
	if from.Len() == 0 {
		return nil
	}
	return from.Front().Value.(*Entry[K, V]) //nolint:forcetypeassert // the lists hold nothing else
}

// Pin keeps an entry from being evicted. It reports false for an entry that has left the table.
func (t *Table[K, V]) Pin(e *Entry[K, V]) bool {
	t.dequeue(e)
	return !e.gone
}

// Unpin makes a pinned entry pending again, as the youngest. It reports false for an entry that has left the table.
func (t *Table[K, V]) Unpin(e *Entry[K, V]) bool {
	if e.gone {
		return false
	}
	if e.inAll == nil {
		t.enqueue(e)
	}
	return true
}

// Leave removes an entry; one that has left already, or was evicted, stays so.
func (t *Table[K, V]) Leave(e *Entry[K, V]) {
	if e.gone {
		return
	}
	t.dequeue(e)
	e.gone = true
	t.counter.Give(e.Key, 1)
}

func (t *Table[K, V]) enqueue(e *Entry[K, V]) {
	own := t.byKey[e.Key]
	if own == nil {
		own = list.New()
		t.byKey[e.Key] = own
	}
	e.inAll, e.inKey = t.pending.PushBack(e), own.PushBack(e)
}

func (t *Table[K, V]) dequeue(e *Entry[K, V]) {
	if e.inAll == nil {
		return
	}
	own := t.byKey[e.Key]
	t.pending.Remove(e.inAll)
	own.Remove(e.inKey)
	if own.Len() == 0 {
		delete(t.byKey, e.Key)
	}
	e.inAll, e.inKey = nil, nil
}

// Len is the number of entries, Pending that of those which may be evicted.
func (t *Table[K, V]) Len() int { return int(t.counter.Total()) }

// Pending is the number of entries that are not pinned.
func (t *Table[K, V]) Pending() int { return t.pending.Len() }

// Of is the number of entries of a key.
func (t *Table[K, V]) Of(k K) int { return int(t.counter.Used(k)) }

// Keys is the number of keys with entries.
func (t *Table[K, V]) Keys() int { return t.counter.Keys() }
