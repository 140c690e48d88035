package memstore

import lua "github.com/yuin/gopher-lua"

// KeptWrites is how many of the last writes can be lost by a failover.
const KeptWrites = 512

type changeKind uint8

const (
	keySet       changeKind = iota // the key holds another entry, or none
	expirySet                      // the key ends at another time
	fieldAdded                     // the hash got one more field, its last
	fieldSet                       // a field of the hash has another value
	fieldRemoved                   // the hash lost a field
	memberSet                      // the sorted set got a member, or another score
	memberGone                     // the sorted set lost a member
)

// change is what has to be known to take one change back.
type change struct {
	kind   changeKind
	had    bool   // memberSet: it was a member before
	key    string // or the member
	entry  *entry // keySet: the one before, or nil; else the one that changed
	at     int    // position of the field
	number int64  // expiry before
	score  float64
	field  lua.LValue
	value  lua.LValue // before
}

// journal remembers the last changes.
type journal struct {
	changes []change
	// writes holds where each write begins in changes.
	writes []int
	// opened says that the command in progress has its place in writes.
	opened bool
	count  uint64
}

// begin starts a command.
func (j *journal) begin() { j.opened = false }

// wrote reports whether the command in progress has changed something.
func (j *journal) wrote() bool { return j.opened }

// add notes a change by the command in progress.
func (j *journal) add(c change) {
	if !j.opened {
		j.opened = true
		j.count++
		if len(j.writes) >= 2*KeptWrites {
			j.trim()
		}
		j.writes = append(j.writes, len(j.changes))
	}
	j.changes = append(j.changes, c)
}

// dropped notes that a key expired. That is no write, but belongs to the last one: it is taken back together with it.
func (j *journal) dropped(key string, e *entry) {
	if len(j.writes) > 0 {
		j.changes = append(j.changes, change{kind: keySet, key: key, entry: e})
	}
}

// trim forgets all but the last KeptWrites.
func (j *journal) trim() {
	first := len(j.writes) - KeptWrites
	from := j.writes[first]
	n := copy(j.changes, j.changes[from:])
	clear(j.changes[n:])
	j.changes = j.changes[:n]
	for i, start := range j.writes[first:] {
		j.writes[i] = start - from
	}
	j.writes = j.writes[:KeptWrites]
}

func (j *journal) clear() { *j = journal{count: j.count} }

// undo takes the last writes back, at most KeptWrites, and returns how many those were.
func (j *journal) undo(s *Store, writes int) int {
	n := min(max(writes, 0), len(j.writes), KeptWrites)
	if n == 0 {
		return 0
	}
	from := j.writes[len(j.writes)-n]
	for i := len(j.changes) - 1; i >= from; i-- {
		j.changes[i].revert(s)
	}
	clear(j.changes[from:])
	j.changes = j.changes[:from]
	j.writes = j.writes[:len(j.writes)-n]
	j.opened = false
	return n
}

func (c *change) revert(s *Store) {
	switch c.kind {
	case keySet:
		if c.entry == nil {
			delete(s.keys, c.key)
		} else {
			s.keys[c.key] = c.entry
		}
	case expirySet:
		c.entry.expiry = c.number
	case fieldAdded:
		c.entry.hash.remove(len(c.entry.hash.pairs)/2 - 1)
	case fieldSet:
		c.entry.hash.pairs[2*c.at+1] = c.value
	case fieldRemoved:
		c.entry.hash.insert(c.at, c.field, c.value)
	case memberSet:
		if c.had {
			c.entry.set.put(c.key, c.score)
		} else {
			c.entry.set.remove(c.key)
		}
	case memberGone:
		c.entry.set.put(c.key, c.score)
	}
}
