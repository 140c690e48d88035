package sim

import (
	"fmt"
	"slices"
	"time"
)

// breakProcess stops, kills, starts or drains processes.
func (c *Cluster) breakProcess(f *Fault) (undo func()) {
	switch f.Kind {
	case Rolling:
		for i := range c.spec.Workers {
			c.engine.After(time.Duration(i)*time.Duration(f.By), "rolling restart", func() { c.replace(c.spec.Workers[i].ID) })
		}
		return nil
	case Join:
		c.join(f)
		return nil
	case Double:
		if len(c.of(f.Target)) == 0 || c.legacy(f.Target) {
			return nil
		}
		second := c.launch(f.Target)
		return func() { c.kill(second) }
	default:
	}
	targets := c.of(f.Target)
	switch f.Kind {
	case Pause:
		for _, e := range targets {
			e.process.Pause()
		}
		return func() {
			for _, e := range targets {
				if e.process.Alive() {
					e.process.Resume()
				}
			}
		}
	case Kill:
		if !c.spared(f.Target) {
			return c.restart(f)
		}
		for _, e := range targets {
			c.kill(e)
		}
		return nil
	case Restart:
		return c.restart(f)
	default: // drain
		for _, e := range targets {
			c.stop(e)
		}
		return func() { c.relaunch(f.Target) }
	}
}

// restart kills the processes of an id, and starts one again at the end of the fault.
func (c *Cluster) restart(f *Fault) (undo func()) {
	for _, e := range c.of(f.Target) {
		c.kill(e)
	}
	return func() { c.relaunch(f.Target) }
}

// runs reports whether a life of a process goes on.
func (c *Cluster) runs(instance string) bool {
	return slices.ContainsFunc(c.processes, func(e *Env) bool { return e.Instance() == instance && e.process.Alive() })
}

// spared reports whether another process of the same role stays when id goes for good.
func (c *Cluster) spared(id string) bool {
	for _, e := range c.of(id) {
		others := c.alive(e.role)
		return slices.ContainsFunc(others, func(o *Env) bool { return o.id != id && !o.stopping && o.up() })
	}
	return false
}

// relaunch starts a process with the id when no other one has it, and looks again later while one is still on its way out.
func (c *Cluster) relaunch(id string) {
	running := c.of(id)
	switch {
	case len(running) == 0:
		c.launch(id)
	case slices.ContainsFunc(running, func(e *Env) bool { return e.stopping }):
		c.engine.After(time.Second, "relaunch", func() { c.relaunch(id) })
	}
}

// replace drains a worker and starts it again as soon as it has ended.
func (c *Cluster) replace(id string) {
	for _, e := range c.of(id) {
		c.stop(e)
	}
	c.upgrade(id)
	c.relaunch(id)
}

// upgrade makes the next process with the id one of the present version.
func (c *Cluster) upgrade(id string) {
	for i := range c.spec.Workers {
		if c.spec.Workers[i].ID == id {
			c.spec.Workers[i].Legacy, c.spec.Workers[i].Unmarked = false, false
		}
	}
	for i := range c.spec.Supervisors {
		if c.spec.Supervisors[i].ID == id {
			c.spec.Supervisors[i].Legacy, c.spec.Supervisors[i].Alone = false, false
		}
	}
}

// legacy reports whether the id is that of a worker of a former version, which does not refuse a second process.
func (c *Cluster) legacy(id string) bool {
	return slices.ContainsFunc(c.spec.Workers, func(w WorkerSpec) bool { return w.ID == id && w.Legacy })
}

// launch starts a process with the id of one that the deployment knows.
func (c *Cluster) launch(id string) *Env {
	for i := range c.spec.Workers {
		if c.spec.Workers[i].ID == id {
			return c.startWorker(&c.spec.Workers[i])
		}
	}
	for i := range c.spec.Supervisors {
		if c.spec.Supervisors[i].ID == id {
			return c.startSupervisor(&c.spec.Supervisors[i])
		}
	}
	for i := range c.spec.Discoveries {
		if c.spec.Discoveries[i].ID == id {
			return c.startDiscovery(&c.spec.Discoveries[i])
		}
	}
	return nil
}

// join adds a worker like the first one.
func (c *Cluster) join(f *Fault) {
	w := c.spec.Workers[0]
	w.ID, w.Host = fmt.Sprint("w1", f.N), f.Target
	if len(c.of(w.ID)) > 0 {
		return
	}
	c.spec.Workers = append(slices.Clone(c.spec.Workers), w)
	c.startWorker(&c.spec.Workers[len(c.spec.Workers)-1])
}
