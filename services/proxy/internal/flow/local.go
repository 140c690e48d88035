package flow

import (
	"context"
	"net/http"

	"github.com/culvert-tunnel/culvert/services/proxy/internal/origin"
)

// handle passes the request to a handler in this process.
func (x *flowState) handle(ctx context.Context, p *parsed, o *origin.Origin) error {
	req, err := x.outgoing(ctx, p, o)
	if err != nil {
		return err
	}
	return x.handleWith(ctx, o.Handler, req)
}

// handleWith passes a request to a handler and ends the response.
func (x *flowState) handleWith(ctx context.Context, h http.Handler, req *http.Request) error {
	w := &writer{x: x, ctx: ctx, header: make(http.Header), head: req.Method == http.MethodHead}
	h.ServeHTTP(w, req)
	if !w.started {
		w.WriteHeader(http.StatusOK)
	}
	if w.err != nil {
		return w.err
	}
	return x.closeResponse()
}

// writer is the http.ResponseWriter of a handler in this process. Each Write goes out at once.
type writer struct {
	x       *flowState
	ctx     context.Context //nolint:containedctx // the request's
	header  http.Header
	head    bool // the response has no body
	started bool
	err     error // sticky
}

// Header gives the headers to change before the first Write or WriteHeader.
func (w *writer) Header() http.Header { return w.header }

// WriteHeader sends the head. Only the first call counts.
func (w *writer) WriteHeader(status int) {
	if w.started {
		return
	}
	w.started = true
	if w.err = w.x.setHead(w.ctx, status, w.header); w.err == nil {
		w.err = w.x.bufferHead()
	}
}

// Write sends p, after the head.
func (w *writer) Write(p []byte) (int, error) {
	if !w.started {
		w.WriteHeader(http.StatusOK)
	}
	if w.err != nil {
		return 0, w.err
	}
	if w.head {
		return len(p), nil
	}
	n, err := w.x.s.Write(p)
	if err != nil {
		w.err = &leftError{err}
	}
	return n, w.err
}

// Flush sends the head if it has not been sent; bodies are never held back.
func (w *writer) Flush() {
	if !w.started {
		w.WriteHeader(http.StatusOK)
	}
	if w.err == nil {
		if _, err := w.x.s.Write(nil); err != nil {
			w.err = &leftError{err}
		}
	}
}
