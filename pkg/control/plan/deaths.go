package plan

import (
	"time"

	"github.com/culvert-tunnel/culvert/pkg/lease"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

// A slot whose holders die one after the other may be what kills them. Of the slots of a process that died, those that began last are
// suspected: within suspectTime of the very last one, which exceeds the time until a death is noticed. deathsFree deaths in a row cost
// nothing: workers are killed, and started again, for other reasons. After the next one the slot waits for deathFirst, and for
// deathStep more for each other slot under the same suspicion, so that they begin one after the other; then for deathLong, which
// doubles up to deathMost. So a slot kills four workers in ten minutes at most.
const (
	suspectTime = 10 * time.Second
	deathsFree  = 1
	deathFirst  = 15 * time.Second
	deathStep   = 12 * time.Second
	deathSteps  = 12 // no more of them are waited for
	deathLong   = 10 * time.Minute
	deathMost   = time.Hour
	// deathJitter is the part of the long waits by which they may be longer.
	deathJitter = 4
)

// inherited is what the next holder of a slot inherits, and how long it has to wait because of that.
func (v *view) inherited(r lease.Record, cause Cause) (lease.Past, time.Duration) {
	past := r.Status.Past
	if r.Wait > 0 && past.Deaths > deathsFree { // its holder was still to wait
		return past, r.Wait
	}
	if cause != CauseGone || r.Wait > 0 || !v.last.suspects(r) {
		return past, 0
	}
	past.Deaths++
	n := past.Deaths - deathsFree
	switch {
	case n <= 0:
		return past, 0
	case n == 1:
		return past, deathFirst + deathStep*time.Duration(min(v.suspects.like(r.Slot, past.Deaths), deathSteps))
	}
	wait := min(deathLong<<min(n-2, 4), deathMost)
	return past, wait + time.Duration(v.random(int(wait/deathJitter)))
}

// process is one process of a worker.
type process struct {
	worker   tunnel.WorkerID
	instance string
}

// starts is how long ago the last slot of each process was to begin.
type starts map[process]time.Duration

func (s starts) put(r lease.Record) {
	if r.Wait > 0 {
		return
	}
	p := process{worker: r.Worker, instance: r.Instance}
	if age, found := s[p]; !found || -r.Wait < age {
		s[p] = -r.Wait
	}
}

// suspects reports whether the slot began last of those of its process, or at about the same time.
func (s starts) suspects(r lease.Record) bool {
	return -r.Wait <= s[process{worker: r.Worker, instance: r.Instance}]+suspectTime
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

// like counts the other slots with at least so many deaths.
func (s suspects) like(slot tunnel.Slot, deaths int) int {
	n := 0
	for other, o := range s {
		if other != slot && o.deaths >= deaths {
			n++
		}
	}
	return n
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
