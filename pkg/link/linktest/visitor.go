package linktest

import (
	"context"
	"errors"
	"io"
	"sync/atomic"

	"github.com/culvert-tunnel/culvert/pkg/link"
)

// Errors that the two ends of a visitor see.
var (
	ErrReset   = errors.New("visitor: response reset")
	ErrStopped = errors.New("visitor: request stopped")
	ErrGone    = errors.New("visitor: gone")
)

// Visitor is the far end of an edge stream without any buffer: a write returns when its bytes were read.
type Visitor struct {
	edge  *edge
	reqW  *io.PipeWriter
	respR *io.PipeReader
}

// NewVisitor makes a visitor and the edge stream that a flow gets.
func NewVisitor() (*Visitor, link.EdgeStream) {
	e := &edge{}
	v := &Visitor{edge: e}
	e.reqR, v.reqW = io.Pipe()
	v.respR, e.respW = io.Pipe()
	e.ctx, e.cancel = context.WithCancelCause(context.Background())
	return v, e
}

// Write sends request bytes.
func (v *Visitor) Write(p []byte) (int, error) { return v.reqW.Write(p) }

// CloseWrite ends the request with FIN.
func (v *Visitor) CloseWrite() { _ = v.reqW.Close() } // documented to return nil

// Reset aborts the request.
func (v *Visitor) Reset() { _ = v.reqW.CloseWithError(ErrGone) } // documented to return nil

// Read gives the response; io.EOF is its FIN, ErrReset a reset.
func (v *Visitor) Read(p []byte) (int, error) { return v.respR.Read(p) }

// Leave stops reading the response.
func (v *Visitor) Leave() {
	_ = v.respR.CloseWithError(ErrGone) // documented to return nil
	v.edge.cancel(ErrGone)
}

// Delivered is how many bytes of the response the visitor has read.
func (v *Visitor) Delivered() int64 { return v.edge.written.Load() }

// edge is the near end.
type edge struct {
	reqR    *io.PipeReader
	respW   *io.PipeWriter
	ctx     context.Context //nolint:containedctx // it is the stream's own life
	cancel  context.CancelCauseFunc
	written atomic.Int64
}

func (e *edge) Read(p []byte) (int, error) { return e.reqR.Read(p) }

func (e *edge) Write(p []byte) (int, error) {
	n, err := e.respW.Write(p)
	e.written.Add(int64(n))
	return n, err
}

func (e *edge) CloseWrite() error {
	err := e.respW.Close()
	e.cancel(nil)
	return err
}

func (e *edge) CancelRead(uint64) { _ = e.reqR.CloseWithError(ErrStopped) } // documented to return nil

func (e *edge) CancelWrite(uint64) {
	_ = e.respW.CloseWithError(ErrReset) // documented to return nil
	e.cancel(ErrReset)
}

func (e *edge) Context() context.Context { return e.ctx }
