package front

import (
	"net/http"
	"sync"
	"time"
)

// stall notices a visitor over HTTP/2 who takes nothing of one stream while its connection is alive. A deadline of the
// server would not do: it resets a stream also while nothing is written.
type stall struct {
	rc    *http.ResponseController
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
	if s.timer == nil {
		s.timer = time.AfterFunc(s.idle, s.cut)
		return
	}
	s.timer.Reset(s.idle)
}

func (s *stall) end() {
	s.timer.Stop()
	s.mu.Lock()
	s.writing = false
	s.mu.Unlock()
}

// cut resets the visitor's stream, which ends the write.
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

// stalls is nil where the connection itself bounds writes.
func (x *exchange) stalls() *stall {
	if x.r.ProtoMajor < 2 || x.front.cfg.BodyIdleTimeout <= 0 {
		return nil
	}
	if x.stall == nil {
		x.stall = &stall{rc: http.NewResponseController(x.w), idle: x.front.cfg.BodyIdleTimeout}
	}
	return x.stall
}
