package engine_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/culvert-tunnel/culvert/tests/sim/engine"
)

func run(e *engine.Engine, until time.Duration) {
	for e.Step(until) {
	}
}

func TestOrderIsTimeThenSequence(t *testing.T) {
	e := engine.New(1, engine.NewTrace(false))
	var got []string
	add := func(at time.Duration, name string) {
		e.At(at, name, func() { got = append(got, fmt.Sprint(name, e.Elapsed())) })
	}
	add(2*time.Second, "c")
	add(time.Second, "a")
	add(2*time.Second, "d")
	add(time.Second, "b")
	run(e, time.Minute)
	want := []string{"a1s", "b1s", "c2s", "d2s"}
	if !slices.Equal(got, want) {
		t.Errorf("events ran as %v, want %v", got, want)
	}
	if e.Steps() != 4 || e.Elapsed() != time.Minute {
		t.Errorf("after the run: %d steps, %v; want 4 steps, 1m0s", e.Steps(), e.Elapsed())
	}
}

func TestQueueSortsManyEvents(t *testing.T) {
	e := engine.New(1, engine.NewTrace(false))
	r := e.Rand("times")
	var last time.Duration
	ran := 0
	for range 2000 {
		e.At(time.Duration(r.IntN(500))*time.Millisecond, "x", func() {
			if e.Elapsed() < last {
				t.Fatalf("time went from %v back to %v", last, e.Elapsed())
			}
			last = e.Elapsed()
			ran++
		})
	}
	run(e, time.Minute)
	if ran != 2000 {
		t.Errorf("%d events ran, want 2000", ran)
	}
}

func TestStoppedTimerDoesNotRun(t *testing.T) {
	e := engine.New(1, engine.NewTrace(false))
	p := e.Spawn("p")
	timer := p.After(time.Second, "never", func() { t.Error("a stopped timer ran") })
	if !timer.Stop() || timer.Stop() {
		t.Error("Stop reported something other than true, then false")
	}
	run(e, time.Minute)
	if (engine.Timer{}).Stop() {
		t.Error("Stop of the zero timer = true")
	}
}

func TestPausedProcessRunsItsEventsAfterwardsInOrder(t *testing.T) {
	e := engine.New(1, engine.NewTrace(false))
	p, other := e.Spawn("p"), e.Spawn("other")
	var got []string
	note := func(name string) func() {
		return func() { got = append(got, fmt.Sprintf("%s %v", name, e.Elapsed())) }
	}
	p.After(2*time.Second, "second", note("second"))
	p.After(time.Second, "first", note("first"))
	p.After(9*time.Second, "late", note("late"))
	other.After(3*time.Second, "other", note("other"))
	e.At(500*time.Millisecond, "pause", p.Pause)
	e.At(5*time.Second, "resume", p.Resume)
	run(e, time.Minute)
	want := []string{"other 3s", "first 5s", "second 5s", "late 9s"}
	if !slices.Equal(got, want) {
		t.Errorf("events ran as %v, want %v", got, want)
	}
}

func TestDeadProcessRunsNothing(t *testing.T) {
	e := engine.New(1, engine.NewTrace(false))
	p := e.Spawn("p")
	p.After(2*time.Second, "x", func() { t.Error("an event of a dead process ran") })
	e.At(time.Second, "pause", p.Pause)
	e.At(3*time.Second, "kill", p.Kill)
	e.At(4*time.Second, "resume", p.Resume)
	run(e, time.Minute)
	if p.Alive() || p.Paused() {
		t.Errorf("Alive() = %v, Paused() = %v after Kill", p.Alive(), p.Paused())
	}
}

func TestStreamsDependOnSeedAndNameOnly(t *testing.T) {
	a, b := engine.New(7, engine.NewTrace(false)), engine.New(7, engine.NewTrace(false))
	b.Rand("w2").Uint64() // drawn by another process
	if x, y := a.Spawn("w1").Rand().Uint64(), b.Spawn("w1").Rand().Uint64(); x != y {
		t.Errorf("the first draw of w1 is %d and %d in two runs of one seed", x, y)
	}
	if x, y := a.Rand("w1").Uint64(), a.Rand("w2").Uint64(); x == y {
		t.Error("two names have the same stream")
	}
	if x, y := a.Rand("w1").Uint64(), engine.New(8, engine.NewTrace(false)).Rand("w1").Uint64(); x == y {
		t.Error("two seeds have the same stream")
	}
}

// chatter is a small system of processes that draw times, wake each other, and are paused and killed.
func chatter(seed uint64, keepText bool) *engine.Trace {
	trace := engine.NewTrace(keepText)
	e := engine.New(seed, trace)
	var processes []*engine.Process
	for i := range 5 {
		processes = append(processes, e.Spawn(fmt.Sprint("p", i)))
	}
	var talk func(p *engine.Process) func()
	talk = func(p *engine.Process) func() {
		return func() {
			to := processes[p.Rand().IntN(len(processes))]
			e.Note(p.Name(), "to "+to.Name())
			to.After(time.Duration(p.Rand().IntN(1000))*time.Millisecond, "talk", talk(to))
		}
	}
	for _, p := range processes {
		p.After(0, "start", talk(p))
	}
	chaos := e.Rand("chaos")
	for i := range 20 {
		p := processes[chaos.IntN(len(processes))]
		at := time.Duration(chaos.IntN(60)) * time.Second
		e.At(at, "pause", p.Pause)
		e.At(at+time.Duration(chaos.IntN(5000))*time.Millisecond, "resume", p.Resume)
		if i == 0 {
			e.At(at, "kill", p.Kill)
		}
	}
	run(e, time.Minute)
	return trace
}

func TestSameSeedGivesTheSameTrace(t *testing.T) {
	for seed := range uint64(50) {
		a, b := chatter(seed, true), chatter(seed, true)
		if a.Text() != b.Text() || a.Sum() != b.Sum() {
			t.Fatalf("seed %d: two runs have different traces", seed)
		}
		if a.Lines() < 50 || a.Lines() != strings.Count(a.Text(), "\n") {
			t.Fatalf("seed %d: %d lines counted, %d in the text, want the same number of at least 50", seed, a.Lines(),
				strings.Count(a.Text(), "\n"))
		}
		if hashed := chatter(seed, false); hashed.Sum() != a.Sum() || hashed.Text() != "" {
			t.Fatalf("seed %d: the hash depends on whether the text is kept", seed)
		}
	}
	if chatter(1, false).Sum() == chatter(2, false).Sum() {
		t.Error("two seeds have the same trace")
	}
}

func TestTraceLine(t *testing.T) {
	trace := engine.NewTrace(true)
	e := engine.New(1, trace)
	p := e.Spawn("w1")
	p.After(1500*time.Microsecond, "tick", func() { e.Note("w1", "noted") })
	run(e, 12*time.Second)
	e.Note("w1", "end")
	if got, want := trace.Text(), "0.001500 w1 tick\n0.001500 w1 noted\n12.000000 w1 end\n"; got != want {
		t.Errorf("trace:\n%s\nwant:\n%s", got, want)
	}
}
