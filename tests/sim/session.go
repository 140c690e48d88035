package sim

import (
	"time"

	"github.com/culvert-tunnel/culvert/pkg/control/admit"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
	"github.com/culvert-tunnel/culvert/tests/sim/engine"
)

// dial is one attempt to open a session.
type dial struct {
	env       *Env
	slot      tunnel.Slot
	to        tunnel.EdgeAddr
	protocol  tunnel.Protocol
	done      func(*Session, error)
	cancelled bool
}

// fail gives the attempt up after a time.
func (d *dial) fail(after time.Duration, err error) { d.end(after, tunnel.ReasonDial, err) }

// refuse is the response of a closed port.
func (d *dial) refuse(after time.Duration) { d.end(after, tunnel.ReasonClosed, errDialRefused) }

func (d *dial) end(after time.Duration, reason tunnel.Reason, err error) {
	d.env.After(after, "dial failed", func() {
		if !d.cancelled {
			d.env.Note("dial " + d.to.String() + " " + string(d.protocol) + ": " + err.Error())
			d.done(nil, &tunnel.ConnError{Reason: reason, Err: err})
		}
	})
}

// Dial opens a session for a slot. done runs once, unless cancel ran before: with a session, or with a *tunnel.ConnError.
func (e *Env) Dial(slot tunnel.Slot, to tunnel.EdgeAddr, p tunnel.Protocol, done func(*Session, error)) (cancel func()) {
	c := e.cluster
	d := &dial{env: e, slot: slot, to: to, protocol: p, done: done}
	limit := quicDial
	if p == tunnel.HTTP2 {
		limit = http2Dial
	}
	at := c.points[to.Addr]
	b := c.does(to.Addr)
	switch {
	case at == nil, !c.passes(e.host, to.Addr, p), b != nil && b.does == hangs:
		d.fail(limit, errDialTimeout)
	case b != nil && b.does == refuses:
		d.refuse(2 * c.spec.EdgeLatency)
	default:
		c.engine.After(2*c.spec.EdgeLatency, "handshake at "+at.edge.name, func() { c.accept(d, at) })
	}
	return func() { d.cancelled = true }
}

// accept is the end of a handshake at the edge.
func (c *Cluster) accept(d *dial, at *point) {
	if !d.env.process.Alive() {
		return
	}
	if !c.passes(d.env.host, at.addr.Addr, d.protocol) {
		d.fail(quicDial, errDialTimeout)
		return
	}
	c.ports++
	s := &Session{env: d.env, at: at, protocol: d.protocol, slot: d.slot, port: c.ports}
	at.edge.sessions = append(at.edge.sessions, s)
	c.listenTo(s)
	d.env.After(c.spec.EdgeLatency, "dialled", func() {
		switch {
		case d.cancelled:
			s.Close()
		case s.gone:
			d.done(nil, &tunnel.ConnError{Reason: tunnel.ReasonDial, Err: errDialTimeout})
		default:
			d.done(s, nil)
		}
	})
}

// once makes a function that runs the first result only.
func once(timer *engine.Timer, done func(error)) func(error) {
	ran := false
	return func(err error) {
		if ran {
			return
		}
		ran = true
		timer.Stop()
		done(err)
	}
}

// Register registers the connection on the session. done runs once, within the timeout, unless the session is closed before.
func (s *Session) Register(r Registration, timeout time.Duration, done func(location string, err error)) {
	c, e := s.env.cluster, s.env
	c.checker.attempt(s, r)
	var timer engine.Timer
	finish := once(&timer, func(err error) {
		if s.over {
			return
		}
		if err != nil {
			if s.cause != nil { // more precise than the error of the call
				err = s.cause
			}
			e.Note("register " + name(r.Slot) + " at " + s.at.addr.String() + ": " + err.Error())
			done("", err)
			return
		}
		done(s.at.edge.name, nil)
	})
	timer = e.After(timeout, "register timed out", func() {
		finish(&tunnel.ConnError{Reason: tunnel.ReasonRPC, Err: errCallTimeout})
	})
	c.engine.After(c.spec.EdgeLatency, "register at "+s.at.edge.name, func() {
		if s.gone || !s.silentAt.IsZero() {
			return
		}
		err := c.register(s, r)
		e.After(c.spec.EdgeLatency, "registered", func() {
			if s.silentAt.IsZero() {
				finish(err)
			}
		})
	})
}

// register is the registration at the edge.
func (c *Cluster) register(s *Session, r Registration) error {
	b := c.does(s.at.addr.Addr)
	if b == nil {
		b = &behaviour{}
	}
	switch b.does {
	case closesEarly:
		err := &tunnel.ConnError{Reason: tunnel.ReasonPeerClosed, Err: errClosed}
		c.end(s, err)
		return err
	case duplicates:
		return &tunnel.ConnError{Reason: tunnel.ReasonDuplicate, Err: errDuplicate}
	case fences:
		return &tunnel.ConnError{Reason: tunnel.ReasonRefused, Retryable: true, RetryAfter: admit.FencedRetry, Err: tunnel.ErrFenced}
	case postpones:
		c.checker.postponed(s, min(b.retryAfter, patience))
		return &tunnel.ConnError{Reason: tunnel.ReasonRefused, Retryable: true, RetryAfter: b.retryAfter, Err: errAskedToWait}
	case rejects:
		c.checker.postponed(s, rejectedWait)
		return &tunnel.ConnError{Reason: tunnel.ReasonRefused, Err: errRejected}
	default:
	}
	if err := s.at.edge.admit(s, r); err != nil {
		return err
	}
	s.state, s.slot, s.epoch = stateRegistered, r.Slot, r.Epoch
	c.checker.registered(s)
	if b.does == closesLate {
		c.engine.After(c.spec.EdgeLatency, "edge closes", func() {
			c.end(s, &tunnel.ConnError{Reason: tunnel.ReasonPeerClosed, Err: errClosed})
		})
	}
	return nil
}

// Unregister withdraws the registration. done runs once, within the timeout.
func (s *Session) Unregister(timeout time.Duration, done func(error)) {
	c, e := s.env.cluster, s.env
	c.checker.leaving(s, "unregister")
	var timer engine.Timer
	finish := once(&timer, done)
	timer = e.After(timeout, "unregister timed out", func() {
		finish(&tunnel.ConnError{Reason: tunnel.ReasonRPC, Err: errCallTimeout})
	})
	c.engine.After(c.spec.EdgeLatency, "unregister at "+s.at.edge.name, func() {
		if s.gone || !s.silentAt.IsZero() {
			return
		}
		s.state = stateUnregistered
		c.checker.dirty = true
		e.After(c.spec.EdgeLatency, "unregistered", func() { finish(nil) })
	})
}

// Drained runs done when the last flow on the session has ended, or after within. Most flows are short.
func (s *Session) Drained(within time.Duration, done func()) {
	flows := between(s.env.net, 0, 200*time.Millisecond)
	if s.env.net.IntN(3) == 0 {
		flows = between(s.env.net, 0, time.Minute)
	}
	s.env.After(min(flows, within), "drained", done)
}
