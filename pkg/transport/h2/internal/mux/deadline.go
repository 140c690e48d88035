package mux

import (
	"sync"
	"time"
)

// deadline is a point in time that can be moved while a goroutine waits on cond. The lock of cond guards it.
type deadline struct {
	at      time.Time
	expired bool
	timer   *time.Timer
}

func (d *deadline) setLocked(t time.Time, cond *sync.Cond) {
	d.at, d.expired = t, false
	if t.IsZero() {
		if d.timer != nil {
			d.timer.Stop()
		}
		return
	}
	left := time.Until(t)
	switch {
	case left <= 0:
		d.expired = true
		cond.Broadcast()
	case d.timer == nil:
		d.timer = time.AfterFunc(left, func() { d.fire(cond) })
	default:
		d.timer.Reset(left)
	}
}

func (d *deadline) fire(cond *sync.Cond) {
	cond.L.Lock()
	defer cond.L.Unlock()
	if d.at.IsZero() {
		return
	}
	if left := time.Until(d.at); left > 0 { // the deadline was moved
		d.timer.Reset(left)
		return
	}
	d.expired = true
	cond.Broadcast()
}

// stopLocked stops the timer of a stream that has ended.
func (d *deadline) stopLocked() {
	d.at = time.Time{}
	if d.timer != nil {
		d.timer.Stop()
	}
}
