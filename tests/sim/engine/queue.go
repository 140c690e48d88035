package engine

import "time"

// event is a function to run at a time.
type event struct {
	at      time.Duration
	seq     uint64
	process *Process // nil for an event of the world
	label   string
	run     func() // nil when the event was stopped, or has run
}

func (e *event) subject() string {
	if e.process == nil {
		return "-"
	}
	return e.process.name
}

func (e *event) before(o *event) bool {
	if e.at != o.at {
		return e.at < o.at
	}
	return e.seq < o.seq
}

// queue is a binary heap of events, the earliest first.
type queue []*event

func (q *queue) first() *event {
	if len(*q) == 0 {
		return nil
	}
	return (*q)[0]
}

func (q *queue) push(e *event) {
	h := append(*q, e)
	i := len(h) - 1
	for i > 0 {
		parent := (i - 1) / 2
		if !h[i].before(h[parent]) {
			break
		}
		h[i], h[parent] = h[parent], h[i]
		i = parent
	}
	*q = h
}

func (q *queue) pop() {
	h := *q
	last := len(h) - 1
	h[0] = h[last]
	h[last] = nil
	h = h[:last]
	for i := 0; ; {
		least := i
		for _, child := range [2]int{2*i + 1, 2*i + 2} {
			if child < last && h[child].before(h[least]) {
				least = child
			}
		}
		if least == i {
			break
		}
		h[i], h[least] = h[least], h[i]
		i = least
	}
	*q = h
}
