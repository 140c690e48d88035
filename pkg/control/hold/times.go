package hold

import (
	"time"

	"github.com/culvert-tunnel/culvert/pkg/backoff"
	"github.com/culvert-tunnel/culvert/pkg/lease"
)

const (
	// newGrantTime is how long a slot whose address failed waits for a new grant before it chooses another address itself.
	newGrantTime = 1500 * time.Millisecond
	// leastHandover is the shortest wait for a newer holder that needs the same edge address: a grace period of zero cuts requests, not
	// the time in which another holder connects.
	leastHandover = 5 * time.Second
	// slowBase and slowRetries shape the waits after the edge refused for good: half a minute, up to eight.
	slowBase    = 30 * time.Second
	slowRetries = 4
	// shortBase and shortMost bound the waits after sessions that did not last: from 8 s up to two minutes.
	shortBase = 15 * time.Second
	shortMost = 110 * time.Second
	// refusedBase and refusedMost bound the waits after dials that were refused at once.
	refusedBase = 250 * time.Millisecond
	refusedMost = 2 * time.Second
)

// DefaultRetries is the default of Times.Retries.
const DefaultRetries = backoff.DefaultRetries

// Times are the settings that shape the waits of a holder.
type Times struct {
	// Grace bounds a drain.
	Grace time.Duration
	// Retries is the number of doublings of the longest wait between two attempts.
	Retries int
}

// Policy is the policy of the lease machines.
func (t Times) Policy(random backoff.Random) lease.Policy {
	slot, slow := t.slot(), t.slow()
	return lease.Policy{
		Delay:        func(retries int) time.Duration { return slot.Wait(retries, random) },
		SlowDelay:    func(retries int) time.Duration { return slowBase + slow.Wait(retries-1, random) },
		ShortDelay:   func(n int) time.Duration { return doubled(shortBase, shortMost, n, random) },
		RefusedDelay: func(n int) time.Duration { return doubled(refusedBase, refusedMost, n, random) },
		NewGrant:     newGrantTime,
		Handover:     max(t.Grace/2, leastHandover),
		Grace:        t.Grace,
	}
}

// doubled is a wait that doubles with n from 1 on, up to a bound. At least half of it is waited.
func doubled(base, most time.Duration, n int, random backoff.Random) time.Duration {
	wait := base
	for i := 1; i < n && wait < most; i++ {
		wait *= 2
	}
	wait = min(wait, most)
	return wait - time.Duration(random(int64(wait/2)))
}

// WaitUpTo is the longest wait after so many failures in a row; refused says that the edge refused for good.
func (t Times) WaitUpTo(retries int, refused bool) time.Duration {
	if refused {
		return slowBase + t.slow().Ceiling(retries-1)
	}
	return t.slot().Ceiling(retries)
}

func (t Times) slot() backoff.Policy {
	return backoff.Policy{Base: backoff.DefaultBase, Retries: t.Retries}
}

func (t Times) slow() backoff.Policy { return backoff.Policy{Base: slowBase, Retries: slowRetries} }
