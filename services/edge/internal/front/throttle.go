package front

import (
	"sync/atomic"
	"time"
)

// throttle lets one event per second through.
type throttle struct{ last atomic.Int64 }

func (t *throttle) allow(now time.Time) bool {
	last, n := t.last.Load(), now.UnixNano()
	return n-last >= int64(time.Second) && t.last.CompareAndSwap(last, n)
}
