package visitorconn

import (
	"net/http"
	"sync"
	"time"
)

// ResponseWriter writes one response and bounds how long the visitor may read nothing of it. A connection of the gate bounds
// the writes of HTTP/1; the stream of an HTTP/2 request needs a bound of its own.
type ResponseWriter struct {
	http.ResponseWriter
	// timeout is 0 where the connection bounds the writes, or nothing does.
	timeout time.Duration
	stall   *stall
}

// NewResponseWriter makes the writer of the response to r. timeout is how long a write may make no progress; 0 is no limit.
func NewResponseWriter(w http.ResponseWriter, r *http.Request, timeout time.Duration) ResponseWriter {
	if r.ProtoMajor == 1 {
		timeout = 0
	}
	return ResponseWriter{ResponseWriter: w, timeout: timeout}
}

// Unwrap is for http.ResponseController.
func (w *ResponseWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// Write sends a part of the response.
func (w *ResponseWriter) Write(p []byte) (int, error) {
	if s := w.stalls(); s != nil {
		s.begin()
		defer s.end()
	}
	return w.ResponseWriter.Write(p)
}

// FlushError sends what the server has buffered.
func (w *ResponseWriter) FlushError() error {
	f, ok := w.ResponseWriter.(interface{ FlushError() error })
	if !ok {
		return nil
	}
	if s := w.stalls(); s != nil {
		s.begin()
		defer s.end()
	}
	return f.FlushError()
}

// stalls returns nil where the connection itself bounds writes and nothing else aborts them.
func (w *ResponseWriter) stalls() *stall {
	if w.stall == nil && w.timeout > 0 {
		w.stall = &stall{rc: http.NewResponseController(w.ResponseWriter), timeout: w.timeout}
	}
	return w.stall
}

// Aborter returns a function that aborts the write under way. Call Aborter before the writes that may be aborted.
func (w *ResponseWriter) Aborter() func() {
	if w.stalls() == nil {
		w.stall = &stall{rc: http.NewResponseController(w.ResponseWriter)}
	}
	return w.stall.abort
}

// stall aborts a write to a visitor that reads nothing: over HTTP/2 after a timeout, since nothing else notices a stream that
// makes no progress while its connection is alive, and whenever abort is called. A write deadline of the server would not
// do: it resets a stream also while nothing is being written.
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
