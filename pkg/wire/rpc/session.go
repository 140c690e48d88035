package rpc

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	capnp "capnproto.org/go/capnp/v3"
	capnprpc "capnproto.org/go/capnp/v3/rpc"
)

// closeGrace is how long handling the last messages may take after the peer has closed the stream.
const closeGrace = time.Second

var errClosed = errors.New("rpc connection closed")

// gate counts running calls. Once it is closed no call may start.
type gate struct {
	mu      sync.Mutex
	closed  bool
	running sync.WaitGroup
}

func (g *gate) enter() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return false
	}
	g.running.Add(1)
	return true
}

func (g *gate) leave() { g.running.Done() }

// close prevents further calls and waits for the running ones.
func (g *gate) close() {
	g.mu.Lock()
	g.closed = true
	g.mu.Unlock()
	g.running.Wait()
}

// serve runs one connection whose bootstrap object is boot until the peer or ctx ends it. Calls enter and leave the
// gate calls, so that none is running afterwards.
func serve(ctx context.Context, rw io.ReadWriteCloser, boot capnp.Client, calls *gate) error {
	w := newWire(rw)
	conn := capnprpc.NewConn(w, &capnprpc.Options{
		BootstrapClient: boot,
		BaseContext:     func() context.Context { return ctx },
	})
	watch(ctx.Done(), w, conn)
	calls.close()
	w.wait()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err := w.ended(); err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("rpc stream: %w", err)
	}
	return nil
}

// watch returns when the connection has ended, by itself or because of stop. The library does not end it while a write is
// stuck, so that is done here once nothing can be received any more; what was received before gets closeGrace to be
// handled.
func watch(stop <-chan struct{}, w *wire, conn *capnprpc.Conn) {
	select {
	case <-conn.Done():
		return
	case <-stop:
	case <-w.broken:
		grace := time.NewTimer(closeGrace)
		defer grace.Stop()
		select {
		case <-conn.Done():
			return
		case <-stop:
		case <-grace.C:
		}
	}
	_ = conn.Close() // the connection has ended in any case
}

// session is the calling end of a connection.
type session struct {
	wire     *wire
	conn     *capnprpc.Conn
	watching sync.WaitGroup
	// abandoned has the calls whose callers have stopped waiting.
	abandoned gate

	mu   sync.Mutex
	boot capnp.Client // set by the first call; mu guards it
}

func newSession(rw io.ReadWriteCloser) *session {
	w := newWire(rw)
	s := &session{wire: w, conn: capnprpc.NewConn(w, nil)}
	s.watching.Go(func() { watch(nil, w, s.conn) }) // close ends it
	return s
}

// bootstrap gives the peer's object. The first call requests it and does not wait, since calls can be sent together with that
// request. The object lasts as long as the connection, independent of the first caller's ctx.
func (s *session) bootstrap(ctx context.Context) capnp.Client {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.boot.IsValid() {
		s.boot = s.conn.Bootstrap(context.WithoutCancel(ctx))
	}
	return s.boot
}

// finish waits for the results f and reads them, or returns when ctx ends. Results are valid until release, which blocks until
// they have arrived. If the caller stops waiting, a goroutine of the session calls release.
func (s *session) finish(ctx context.Context, f *capnp.Future, release capnp.ReleaseFunc, read func() error) error {
	select {
	case <-f.Done():
		defer release()
		err := read()
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return context.Cause(ctx)
		default:
			return s.explain(err)
		}
	case <-ctx.Done():
		if !s.abandoned.enter() {
			return errClosed
		}
		go func() {
			defer s.abandoned.leave()
			release()
		}()
		return context.Cause(ctx)
	}
}

// explain replaces an error of the library: by the reason of the connection's end if it has ended, or else by the innermost
// error's text, which is the peer's when the call ended with an exception.
func (s *session) explain(err error) error {
	select {
	case <-s.conn.Done():
	default:
		if s.wire.ended() == nil {
			for cause := errors.Unwrap(err); cause != nil; cause = errors.Unwrap(err) {
				err = cause
			}
			return errors.New(err.Error())
		}
	}
	if cause := s.wire.ended(); cause != nil {
		return fmt.Errorf("rpc stream: %w", cause)
	}
	return errClosed
}

// close ends the connection and waits for all that belongs to it.
func (s *session) close() error {
	s.wire.closing.Store(true)
	err := s.conn.Close()
	s.mu.Lock()
	boot := s.boot
	s.boot = capnp.Client{}
	s.mu.Unlock()
	boot.Release()
	s.abandoned.close()
	s.watching.Wait()
	s.wire.wait()
	return err
}
