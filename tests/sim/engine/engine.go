package engine

import (
	"hash/fnv"
	"math/rand/v2"
	"time"
)

// Engine is the clock and the queue of one run. It is not safe for concurrent use.
type Engine struct {
	seed  uint64
	now   time.Duration
	seq   uint64
	steps int
	queue queue
	trace *Trace
}

// epoch is the time at the start of every run, in seconds since 1970. It is far enough from zero that clocks can be set back by hours.
const epoch = 1767225600

// New makes a run without events. The trace receives a line for each step and each note.
func New(seed uint64, trace *Trace) *Engine { return &Engine{seed: seed, trace: trace} }

// Now is the virtual time.
func (e *Engine) Now() time.Time { return time.Unix(epoch, 0).UTC().Add(e.now) }

// Elapsed is the virtual time since the start of the run.
func (e *Engine) Elapsed() time.Duration { return e.now }

// Steps counts the events that have run.
func (e *Engine) Steps() int { return e.steps }

// Rand makes the random stream of a name: it depends on the seed and on the name only, so that what one process draws does not
// change what another one gets.
func (e *Engine) Rand(name string) *rand.Rand {
	h := fnv.New64a()
	_, _ = h.Write([]byte(name)) // a hash never fails
	return rand.New(rand.NewPCG(e.seed, h.Sum64()))
}

// At runs f at the given time since the start, or now if that is past. Of events at the same time the one scheduled first runs first.
func (e *Engine) At(at time.Duration, label string, f func()) Timer {
	return e.schedule(nil, at, label, f)
}

// After runs f after d.
func (e *Engine) After(d time.Duration, label string, f func()) Timer {
	return e.schedule(nil, e.now+d, label, f)
}

// Note writes a line into the trace, at the present time.
func (e *Engine) Note(subject, text string) { e.trace.line(e.now, subject, text) }

func (e *Engine) schedule(p *Process, at time.Duration, label string, f func()) Timer {
	e.seq++
	item := &event{at: max(at, e.now), seq: e.seq, process: p, label: label, run: f}
	e.queue.push(item)
	return Timer{event: item}
}

// Step runs the next event, and reports whether there was one before the time until. Then the clock stands at that event, else at until.
func (e *Engine) Step(until time.Duration) bool {
	for {
		next := e.queue.first()
		if next == nil || next.at > until {
			e.now = max(e.now, until)
			return false
		}
		e.queue.pop()
		if next.run == nil { // stopped
			continue
		}
		if p := next.process; p != nil && !p.accepts(next) {
			continue
		}
		e.now = next.at
		e.steps++
		e.trace.line(e.now, next.subject(), next.label)
		run := next.run
		next.run = nil
		run()
		return true
	}
}

// Timer is an event that was scheduled. The zero value is one that never was.
type Timer struct{ event *event }

// Stop keeps the event from running. It reports whether it would have run.
func (t Timer) Stop() bool {
	if t.event == nil || t.event.run == nil {
		return false
	}
	t.event.run = nil
	return true
}
