package keep

import (
	"time"

	"github.com/culvert-tunnel/culvert/pkg/control/retain"
)

// askEvery and askMax bound the growing time between two requests of one process for a lookup.
const (
	askEvery = 10 * time.Second
	askMax   = 5 * time.Minute
)

// LookTopic is the topic of the hint that asks for a lookup of the pool name.
func LookTopic(name string) string { return retain.AskLookup(name).Topic }

// Asker decides when a worker asks for a lookup: at once when the pool is exhausted, then less and less often while it stays so. The zero
// value is ready. It is not safe for concurrent use.
type Asker struct {
	next time.Time
	wait time.Duration
}

// Ask reports whether to send a request at now; exhausted says that no usable address is left. now must never decrease.
func (a *Asker) Ask(now time.Time, exhausted bool) bool {
	if !exhausted {
		a.wait = 0 // what was sent counts still: next stays
		return false
	}
	if now.Before(a.next) {
		return false
	}
	a.wait = min(max(askEvery, 2*a.wait), askMax)
	a.next = now.Add(a.wait)
	return true
}
