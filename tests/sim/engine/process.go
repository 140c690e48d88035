package engine

import (
	"math/rand/v2"
	"time"
)

// Process is one life of one program: its events wait while it is paused, and are dropped when it is dead. A program that is started
// again is another Process.
type Process struct {
	engine *Engine
	name   string
	rand   *rand.Rand
	paused bool
	dead   bool
	held   []*event
}

// Spawn makes a process. Names are unique within a run: the random stream depends on it.
func (e *Engine) Spawn(name string) *Process {
	return &Process{engine: e, name: name, rand: e.Rand(name)}
}

// Name is the name that the process was made with.
func (p *Process) Name() string { return p.name }

// Rand is the process' own random stream.
func (p *Process) Rand() *rand.Rand { return p.rand }

// Alive reports whether the process has not been killed.
func (p *Process) Alive() bool { return !p.dead }

// Paused reports whether the process is stopped, and will go on later.
func (p *Process) Paused() bool { return p.paused && !p.dead }

// After runs f in the process after d.
func (p *Process) After(d time.Duration, label string, f func()) Timer {
	if p.dead {
		return Timer{}
	}
	return p.engine.schedule(p, p.engine.now+d, label, f)
}

// Pause stops the process as SIGSTOP does.
func (p *Process) Pause() { p.paused = true }

// Resume runs what has come due meanwhile, in order, and goes on.
func (p *Process) Resume() {
	p.paused = false
	held := p.held
	p.held = nil
	for _, h := range held {
		if h.run != nil {
			p.engine.seq++
			h.at, h.seq = p.engine.now, p.engine.seq
			p.engine.queue.push(h)
		}
	}
}

// Kill ends the process as SIGKILL does: nothing of it runs any more.
func (p *Process) Kill() { p.dead, p.held = true, nil }

// accepts reports whether an event of the process may run now. It keeps those of a paused process.
func (p *Process) accepts(e *event) bool {
	switch {
	case p.dead:
		return false
	case p.paused:
		p.held = append(p.held, e)
		return false
	default:
		return true
	}
}
