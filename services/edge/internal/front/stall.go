package front

import (
	"net/http"
	"sync"
	"time"
)

// stall aborts a write to a visitor that reads nothing: over HTTP/2 after a timeout, since nothing else notices a stream that
// makes no progress while its connection is alive, and whenever abort is called. A write deadline of the server would not do:
// it resets a stream also while nothing is being written.
type stall struct {
	rc *http.ResponseController
	// timeout is 0 where the connection itself bounds writes.
	timeout time.Duration
	timer   *time.Timer

	// mu guards writing, and makes sure that nothing is aborted after a write has ended.
	mu      sync.Mutex
	writing bool
}

func (s *stall) begin() {
	s.mu.Lock()
	s.writing = true
	s.mu.Unlock()
	switch {
	case s.timeout <= 0:
		return
	case s.timer == nil:
		s.timer = time.AfterFunc(s.timeout, s.abort)
	default:
		s.timer.Reset(s.timeout)
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

// abort ends the write that is under way, if there is one, and with it the visitor's stream or connection.
func (s *stall) abort() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.writing {
		_ = s.rc.SetWriteDeadline(time.Unix(1, 0)) // supported by the server's own writers
	}
}

// write sends a part of the response.
func (x *exchange) write(p []byte) (int, error) {
	if s := x.stalls(); s != nil {
		s.begin()
		defer s.end()
	}
	return x.w.Write(p)
}

// flush sends what the server has buffered.
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

// stalls returns nil where the connection itself bounds writes and nothing else aborts them.
func (x *exchange) stalls() *stall {
	if x.stall == nil && x.r.ProtoMajor > 1 && x.front.cfg.BodyIdleTimeout > 0 {
		x.stall = &stall{rc: http.NewResponseController(x.w), timeout: x.front.cfg.BodyIdleTimeout}
	}
	return x.stall
}

// aborter returns a function that aborts the write under way. It must be called before the writes that may be aborted.
func (x *exchange) aborter() func() {
	s := x.stalls()
	if s == nil {
		s = &stall{rc: http.NewResponseController(x.w)}
		x.stall = s
	}
	return s.abort
}
