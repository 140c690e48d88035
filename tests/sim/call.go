package sim

import (
	"slices"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/redisstore/command"
)

// rule is one disturbance of the way between processes and the store.
type rule struct {
	// instances and ops restrict it to processes, by id, and to commands, by name; empty is all.
	instances, ops []string
	// chance is the probability that a call is hit.
	chance float64
	// The effects; several may be set.
	cut, loseRequest, loseReply bool
	// delay is the longest extra time of each way, least the shortest.
	least, delay time.Duration
}

func (r *rule) applies(e *Env, op string) bool {
	return (len(r.instances) == 0 || slices.Contains(r.instances, e.id)) && (len(r.ops) == 0 || slices.Contains(r.ops, op))
}

// fate is what happens to one call.
type fate struct {
	cut, loseRequest, loseReply bool
	there, back                 time.Duration
}

// fate draws what happens to a call now.
func (c *Cluster) fate(e *Env, op string) fate {
	f := fate{there: c.latency(e), back: c.latency(e)}
	for _, r := range c.rules {
		if !r.applies(e, op) || (r.chance < 1 && e.net.Float64() >= r.chance) {
			continue
		}
		f.cut = f.cut || r.cut
		f.loseRequest = f.loseRequest || r.loseRequest
		f.loseReply = f.loseReply || r.loseReply
		if r.delay > 0 {
			f.there += between(e.net, r.least, r.delay)
			f.back += between(e.net, 0, r.delay)
		}
	}
	return f
}

// latency is the time of one undisturbed way to the store.
func (c *Cluster) latency(e *Env) time.Duration {
	return between(e.net, c.spec.StoreLatency/2, c.spec.StoreLatency*3/2)
}

// Call sends one command to the store. done runs once: with the reply, or with an error that wraps tunnel.ErrUnavailable after the
// store's time-out at the latest. A request that is late is executed all the same.
func (e *Env) Call(op string, c command.Command, done func(reply any, err error)) {
	cl := e.cluster
	planned := e.planned
	if c.Name() == "grant" {
		e.planned = nil
	}
	sent := e.Now()
	f := cl.fate(e, c.Name())
	own := cl.ownTrouble(e)
	finish := func(after time.Duration, reply any, err error) {
		cl.finish(e, call{op: op, name: c.Name(), sent: sent, own: own, done: done}, after, reply, err)
	}
	switch {
	case f.cut:
		finish(f.there, nil, errRefused)
		return
	case f.loseRequest:
		finish(callTimeout, nil, errNoResponse)
		return
	}
	late := f.there >= callTimeout
	if late {
		finish(callTimeout, nil, errNoResponse)
	}
	cl.engine.After(f.there, "exec "+c.Name()+" of "+e.process.Name(), func() {
		reply, err := cl.execute(e, c, planned)
		if late {
			return
		}
		rest := sent.Add(callTimeout).Sub(cl.engine.Now())
		if f.loseReply || f.back >= rest {
			finish(rest, nil, errNoResponse)
			return
		}
		finish(f.back, reply, err)
	})
}

// call is a call on its way back.
type call struct {
	op, name string
	sent     time.Time
	own      bool // there was trouble that not everybody had
	done     func(reply any, err error)
}

// finish hands the result to the process. One that was stopped beyond the time-out finds it over, or the reply, by chance.
func (c *Cluster) finish(e *Env, k call, after time.Duration, reply any, err error) {
	e.process.After(after, "reply "+k.name, func() {
		now := e.Now()
		if err == nil && now.Sub(k.sent) > callTimeout && e.net.IntN(2) == 0 {
			err = errNoResponse
		}
		if (k.own || c.ownTrouble(e)) && (err != nil || now.Sub(k.sent) > callTimeout/4) {
			e.troubled = now
		}
		if err != nil {
			e.Note("failed " + k.name + ": " + err.Error())
			k.done(nil, command.Unavailable(k.op, "sim", err))
			return
		}
		k.done(reply, nil)
	})
}

// execute runs a command at the store, and shows it to the checker.
func (c *Cluster) execute(e *Env, cmd command.Command, planned *Planned) (any, error) {
	c.calls[e.role]++
	verify := c.checker.watch(cmd)
	reply, err := c.server.do(cmd)
	verify()
	if err != nil {
		return nil, err
	}
	switch cmd.Name() {
	case "publish":
		c.deliver(cmd.Args[1])
	default:
		c.checker.executed(e, cmd, reply, planned)
	}
	return reply, nil
}

// watch is a subscription to hints.
type watch struct {
	env      *Env
	channels []string
	wake     func()
	pending  bool
	// lost says that the connection is gone; the process subscribes again later.
	lost bool
}

// The subscriptions' times, as in package redisstore: a connection that says nothing is tested after quietSub, and a new one is made
// after a short wait.
const (
	quietSub = 30 * time.Second
	resubMin = 100 * time.Millisecond
	resubMax = 4 * time.Second
)

// Watch runs wake after hints on any of the topics, and after every subscription. Hints that arrive together count as one.
func (e *Env) Watch(wake func(), topics ...string) {
	w := &watch{env: e, wake: wake, lost: true}
	for _, t := range topics {
		w.channels = append(w.channels, command.HintChannel(t))
	}
	e.watches = append(e.watches, w)
	e.cluster.subscribe(w, 0)
}

// subscribe tries to connect after d.
func (c *Cluster) subscribe(w *watch, d time.Duration) {
	w.env.After(d, "subscribe", func() {
		if f := c.fate(w.env, "subscribe"); f.cut || f.loseRequest || f.loseReply || !c.server.listens() {
			c.subscribe(w, between(w.env.net, resubMin, resubMax))
			return
		}
		w.lost = false
		c.wake(w)
	})
}

// deliver passes a message to the subscribers of a channel, and drops the subscriptions whose way is broken.
func (c *Cluster) deliver(channel string) {
	for _, e := range c.processes {
		for _, w := range e.watches {
			if w.lost || !e.process.Alive() || !slices.Contains(w.channels, channel) {
				continue
			}
			if f := c.fate(e, "subscribe"); f.cut || f.loseReply {
				w.lost = true
				c.subscribe(w, between(e.net, time.Second, quietSub))
				continue
			}
			c.wake(w)
		}
	}
}

func (c *Cluster) wake(w *watch) {
	if w.pending {
		return
	}
	w.pending = true
	w.env.After(c.latency(w.env), "hint", func() {
		w.pending = false
		w.wake()
	})
}

// dropWatches ends all subscriptions: the server went away.
func (c *Cluster) dropWatches() {
	for _, e := range c.processes {
		for _, w := range e.watches {
			c.drop(w)
		}
	}
}

// drop ends one subscription; the process makes another one soon.
func (c *Cluster) drop(w *watch) {
	if w.lost || !w.env.process.Alive() {
		return
	}
	w.lost = true
	c.subscribe(w, between(w.env.net, resubMin, resubMax))
}

// ownTrouble reports whether the way to the store is disturbed for this process in a way that is not the same for all: an outage of
// the store for everybody says nothing about a process.
func (c *Cluster) ownTrouble(e *Env) bool {
	return len(c.server.shards) > 0 || slices.ContainsFunc(c.rules, func(r *rule) bool {
		all := len(r.instances) == 0
		return !(all && len(r.ops) == 0 && r.chance >= 1) && (all || slices.Contains(r.instances, e.id))
	})
}

// disturbed reports whether a fault is on the way between a process and the store.
func (c *Cluster) disturbed(e *Env) bool {
	return slices.ContainsFunc(c.rules, func(r *rule) bool {
		return len(r.instances) == 0 || slices.Contains(r.instances, e.id)
	})
}
