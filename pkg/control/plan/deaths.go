package plan

import (
	"time"

	"github.com/culvert-tunnel/culvert/pkg/lease"
)

// A slot whose holders die one after the other may be what kills them. deathsFree of them in a row cost nothing: workers are killed, and
// started again, for other reasons. After the next one the slot waits for deathFirst, then for deathLong, which doubles up to deathMost. So
// it kills four workers in ten minutes at most, and two slots that came to be suspected together start at different times.
const (
	deathsFree = 1
	deathFirst = time.Minute
	deathLong  = 10 * time.Minute
	deathMost  = time.Hour
	// deathJitter is the part of the wait by which it may be longer.
	deathJitter = 4
)

// inherited is what the next holder of a slot inherits, and how long it has to wait because of that.
func (v *view) inherited(r lease.Record, cause Cause) (lease.Past, time.Duration) {
	past := r.Status.Past
	began := r.Wait <= 0 // a holder that was still to wait has not begun
	if cause == CauseGone && began {
		past.Deaths++
	}
	switch {
	case past.Deaths <= deathsFree:
		return past, 0
	case !began:
		return past, r.Wait
	case cause != CauseGone:
		return past, 0
	}
	wait := deathFirst
	if n := past.Deaths - deathsFree; n > 1 {
		wait = deathLong << min(n-2, 4)
	}
	wait = min(wait, deathMost)
	return past, wait + time.Duration(v.random(int(wait/deathJitter)))
}
