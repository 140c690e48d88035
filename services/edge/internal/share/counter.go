package share

// Limits are the bounds of one resource, in its own unit: entries, flows or bytes.
type Limits struct {
	// Total bounds all keys together.
	Total int64
	// PerKey bounds one key; 0 sets no bound below Total.
	PerKey int64
}

// The default share of one address is 1/addressDivisor of all, but at least minAddressShare, so that a small limit needs no
// further setting.
const (
	addressDivisor  = 4
	minAddressShare = 64
)

// OfAddress makes the limits of a resource whose keys are addresses. Without a limit per address (0) the share of one is a
// quarter of all, but at least 64.
func OfAddress(total, perAddress int) Limits {
	if perAddress == 0 {
		perAddress = max(total/addressDivisor, minAddressShare)
	}
	return Limits{Total: int64(total), PerKey: int64(perAddress)}
}

// Verdict is the result of a request for an amount or a place.
type Verdict uint8

// The verdicts.
const (
	// Granted means that the amount or the place is taken.
	Granted Verdict = iota
	// OverShare means that the key has used up its own share.
	OverShare
	// Full means that all keys together have used up the total.
	Full
)

// String is the label of a verdict in metrics and logs.
func (v Verdict) String() string {
	switch v {
	case Granted:
		return "granted"
	case OverShare:
		return "share"
	case Full:
		return "total"
	default:
		return "unknown"
	}
}

// Counter counts the amounts that keys have taken. Not safe for concurrent use.
type Counter[K comparable] struct {
	limits Limits
	total  int64
	used   map[K]int64
}

// NewCounter makes a counter with nothing taken.
func NewCounter[K comparable](limits Limits) *Counter[K] {
	return &Counter[K]{limits: limits, used: make(map[K]int64)}
}

// Take takes the amount n >= 0 for a key, all of it or nothing. A key that is over its share gets OverShare even when the total
// is used up as well.
func (c *Counter[K]) Take(k K, n int64) Verdict {
	switch have := c.used[k]; {
	case c.limits.PerKey > 0 && n > c.limits.PerKey-have:
		return OverShare
	case n > c.limits.Total-c.total:
		return Full
	case n > 0:
		c.used[k] = have + n
		c.total += n
	}
	return Granted
}

// Give returns the amount n of a key. More than the key has taken returns what it has.
func (c *Counter[K]) Give(k K, n int64) {
	have := c.used[k]
	n = min(n, have)
	if have == n {
		delete(c.used, k)
	} else {
		c.used[k] = have - n
	}
	c.total -= n
}

// Used is the amount that a key has taken.
func (c *Counter[K]) Used(k K) int64 { return c.used[k] }

// Total is the amount that all keys have taken.
func (c *Counter[K]) Total() int64 { return c.total }

// Keys is the number of keys that have taken something.
func (c *Counter[K]) Keys() int { return len(c.used) }
