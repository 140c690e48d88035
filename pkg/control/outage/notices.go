package outage

import (
	"slices"
	"time"
)

const (
	// most is how many outages are told within a time of per.
	most = 3
	per  = time.Minute
)

// Notices remembers which outages were told. The zero value has told none. It is not safe for concurrent use.
type Notices struct {
	// told are the times of the last ones, hushed says that the present one was not told.
	told   []time.Time
	hushed bool
}

// Down reports whether to tell that the store does not respond at now; news says that it did before, or did not for another reason. An
// outage that was not told because there were too many is told as soon as it lasts for long enough. now must never decrease.
func (n *Notices) Down(now time.Time, news bool) (tell bool) {
	if !news && !n.hushed {
		return false
	}
	n.told = slices.DeleteFunc(n.told, func(t time.Time) bool { return now.Sub(t) > per })
	n.hushed = len(n.told) >= most
	if !n.hushed {
		n.told = append(n.told, now)
	}
	return !n.hushed
}

// Up reports whether to tell that the store responds again: if the outage was told.
func (n *Notices) Up() (tell bool) {
	tell = !n.hushed
	n.hushed = false
	return tell
}
