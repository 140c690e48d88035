package relay

import (
	"errors"
	"os"
	"sync/atomic"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/transport"
)

const (
	// refusals is how many streams beyond the limit get a response at a time; further ones are reset.
	refusals = 64
	// refusalTime bounds the write of a response that refuses a stream.
	refusalTime = time.Second
)

// Limits bound what an edge can make a worker hold (docs/limits.md). A zero is no limit.
type Limits struct {
	// HeadTimeout bounds the time until the first bytes of a stream, which tell its kind, have arrived.
	HeadTimeout time.Duration
	// Streams is how many streams are served at a time, PerSession how many of one session.
	Streams    int
	PerSession int
	// WriteTimeout bounds each write of a response; a stream whose reader is slower is reset.
	WriteTimeout time.Duration
}

// count is a number with a limit.
type count struct{ n atomic.Int64 }

// add counts one more, unless the limit is reached.
func (c *count) add(limit int) bool {
	if n := c.n.Add(1); limit > 0 && n > int64(limit) {
		c.n.Add(-1)
		return false
	}
	return true
}

func (c *count) done() { c.n.Add(-1) }

// admit counts a stream that is to be served; leave takes it back.
func (s *Session) admit() bool {
	l := &s.relay.cfg.Limits
	if !s.inFlight.add(l.PerSession) {
		return false
	}
	if !s.relay.inFlight.add(l.Streams) {
		s.inFlight.done()
		return false
	}
	return true
}

func (s *Session) leave() {
	s.inFlight.done()
	s.relay.inFlight.done()
}

// turnAway ends a stream beyond the limit: with a response that lets the edge try another connection, or, in a flood, with a reset.
func (s *Session) turnAway(st transport.Stream) {
	o := s.relay.cfg.Observer
	o.StreamOpened()
	select {
	case s.relay.refusing <- struct{}{}:
	default:
		abort(st)
		o.StreamEnded(Refused)
		return
	}
	s.flows.Go(func() {
		defer func() {
			<-s.relay.refusing
			o.StreamEnded(Refused)
		}()
		if st.SetWriteDeadline(time.Now().Add(refusalTime)) != nil {
			abort(st)
			return
		}
		refuse(st, tooMany)
	})
}

// hurried bounds the time of each write to a stream.
type hurried struct {
	transport.Stream
	limit time.Duration
}

// Write resets the stream when p is not written in time (docs/spec/wire.md 5.6).
func (h *hurried) Write(p []byte) (int, error) {
	if err := h.SetWriteDeadline(time.Now().Add(h.limit)); err != nil {
		return 0, err
	}
	n, err := h.Stream.Write(p)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		h.CancelWrite(transport.NoError)
	}
	return n, err
}
