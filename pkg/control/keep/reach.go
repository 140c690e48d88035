package keep

import (
	"errors"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

// The store counts as unavailable from the first call that fails, and as available again after a time in which none did. That time is
// longer than the interval of the renewals, so that at least one call that writes was among them: a store may be read and refuse to be
// written. It grows while the store fails again soon, so that a change is told at most four times a minute.
const (
	returnFirst = 3 * time.Second
	returnMost  = 30 * time.Second
	// returnGrowth is the factor, and returnForget how long the store must stay available until the first time applies again.
	returnGrowth = 4
	returnForget = time.Minute
)

// Reach is whether the store is available, by the calls to it. The zero value is available: that is assumed until a call fails.
type Reach struct {
	// failing says that the last call failed, down that the store counts as unavailable.
	failing, down bool
	// since is when the calls began to succeed again, or while the store is available when it became so.
	since time.Time
	// wait is how long no call may fail until the store counts as available.
	wait time.Duration
}

// Up reports whether the store counts as available.
func (r *Reach) Up() bool { return !r.down }

// Responds reports whether the last call reached the store.
func (r *Reach) Responds() bool { return !r.failing }

// Observe records the result of a call at now, and reports whether the availability changed. A store that refuses a call is available. now
// must never decrease.
func (r *Reach) Observe(now time.Time, err error) (changed bool) {
	failed := errors.Is(err, tunnel.ErrUnavailable)
	first := r.failing && !failed
	r.failing = failed
	switch {
	case !r.down && failed:
		if r.wait == 0 || now.Sub(r.since) >= returnForget {
			r.wait = returnFirst
		} else {
			r.wait = min(returnGrowth*r.wait, returnMost)
		}
		r.down = true
		return true
	case !r.down || failed:
		return false
	case first:
		r.since = now
	}
	if now.Sub(r.since) < r.wait {
		return false
	}
	r.down, r.since = false, now
	return true
}
