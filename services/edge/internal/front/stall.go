package front

import (
	"net/http"
	"sync"
	"time"
)

// stall ends a write that the visitor does not take: over HTTP/2 after a while, since nothing else notices a stream that
// stands still while its connection is alive, and whenever somebody asks for it. A deadline of the server would not do: it
// resets a stream also while nothing is written.
type stall struct {
	rc *http.ResponseController
	// idle is 0 where the connection itself bounds writes.
	idle  time.Duration
	timer *time.Timer

	// mu protects the field below and makes sure that nothing happens after a write has ended.
	mu      sync.Mutex
	writing bool
}

func (s *stall) begin() {
	s.mu.Lock()
	s.writing = true
	s.mu.Unlock()
	switch {
	case s.idle <= 0:
		return
	case s.timer == nil:
		s.timer = time.AfterFunc(s.idle, s.cut)
	default:
		s.timer.Reset(s.idle)
	}
}

func (s *stall) end() {
	if s.timer != nil {
		s.timer.Stop()
	}
	s.mu.Lock()
	s.writing = false
	s.mu.Unlock()
}

// cut ends the write that is under way, if there is one, and with it the visitor's stream or connection.
func (s *stall) cut() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.writing {
		_ = s.rc.SetWriteDeadline(time.Unix(1, 0)) // supported by the server's own writers
	}
}

// write sends a part of the answer.
func (x *exchange) write(p []byte) (int, error) {
	if s := x.stalls(); s != nil {
		s.begin()
		defer s.end()
	}
	return x.w.Write(p)
}

// flush sends what the server holds back.
func (x *exchange) flush() error {
	f, ok := x.w.(interface{ FlushError() error })
	if !ok {
		return nil
	}
	if s := x.stalls(); s != nil {
		s.begin()
		defer s.end()
	}
	return f.FlushError()
}

// stalls is nil where the connection itself bounds writes and nobody else cuts them.
func (x *exchange) stalls() *stall {
	if x.stall == nil && x.r.ProtoMajor > 1 && x.front.cfg.BodyIdleTimeout > 0 {
		x.stall = &stall{rc: http.NewResponseController(x.w), idle: x.front.cfg.BodyIdleTimeout}
	}
	return x.stall
}

// cutter gives what cuts the write that is under way. It is called before the writes that may be cut.
func (x *exchange) cutter() func() {
	s := x.stalls()
	if s == nil {
		s = &stall{rc: http.NewResponseController(x.w)}
		x.stall = s
	}
	return s.cut
}
