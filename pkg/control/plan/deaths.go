package plan

import (
	"time"

	"github.com/culvert-tunnel/culvert/pkg/lease"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

// A slot whose holders die one after the other may be what kills them. deathsFree of them in a row cost nothing: workers are killed, and
// started again, for other reasons. After the next one the slot waits for deathFirst, then for deathLong, which doubles up to deathMost; and
// up to as long again the first time, up to a quarter more later. So it kills four workers in ten minutes at most. Two slots that were
// suspected together start at different times, and on different workers.
const (
	deathsFree  = 1
	deathFirst  = 15 * time.Second
	deathLong   = 10 * time.Minute
	deathMost   = time.Hour
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
	n := past.Deaths - deathsFree
	if n == 1 {
		return past, deathFirst + time.Duration(v.random(int(deathFirst)))
	}
	wait := min(deathLong<<min(n-2, 4), deathMost)
	return past, wait + time.Duration(v.random(int(wait/deathJitter)))
}

// suspects are the slots whose last holders died, while a plan is made.
type suspects map[tunnel.Slot]suspect

type suspect struct {
	worker tunnel.WorkerID
	deaths int
}

func (s suspects) put(slot tunnel.Slot, holder tunnel.WorkerID, deaths int) {
	if deaths == 0 {
		delete(s, slot)
		return
	}
	s[slot] = suspect{worker: holder, deaths: deaths}
}

// beside are the workers that hold other slots under the same suspicion as r, whose holder has died now: apart from each other, the next
// death tells them apart.
func (s suspects) beside(r lease.Record) []tunnel.WorkerID {
	var out []tunnel.WorkerID
	for slot, other := range s {
		if r.Status.Deaths > 0 && slot != r.Slot && other.deaths > r.Status.Deaths {
			out = append(out, other.worker)
		}
	}
	return out
}
