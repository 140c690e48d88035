package duplex_test

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/culvert-tunnel/culvert/services/proxy/internal/duplex"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var errReset = errors.New("reset")

// end is an End in memory, with its far side.
type end struct {
	in  *io.PipeReader
	out *io.PipeWriter

	farIn  *io.PipeReader
	farOut *io.PipeWriter

	mu      sync.Mutex
	aborted bool
}

func newEnd() *end {
	e := &end{}
	e.in, e.farOut = io.Pipe()
	e.farIn, e.out = io.Pipe()
	return e
}

func (e *end) Read(p []byte) (int, error)  { return e.in.Read(p) }
func (e *end) Write(p []byte) (int, error) { return e.out.Write(p) }
func (e *end) CloseWrite() error           { return e.out.Close() }

func (e *end) Abort() {
	e.mu.Lock()
	e.aborted = true
	e.mu.Unlock()
	_ = e.in.CloseWithError(errReset)
	_ = e.out.CloseWithError(errReset)
}

func (e *end) wasAborted() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.aborted
}

// rig is a running stream between two ends in memory.
type rig struct {
	edge, origin *end
	result       chan duplex.Summary
	cancel       context.CancelFunc
}

func start(t *testing.T, c *duplex.Copier) *rig {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	r := &rig{edge: newEnd(), origin: newEnd(), result: make(chan duplex.Summary, 1), cancel: cancel}
	go func() { r.result <- c.Run(ctx, r.edge, r.origin) }()
	return r
}

func send(t *testing.T, to *end, text string) {
	t.Helper()
	if _, err := io.WriteString(to.farOut, text); err != nil {
		t.Errorf("send %q: %v", text, err)
	}
}

func expect(t *testing.T, at *end, text string) {
	t.Helper()
	b := make([]byte, len(text))
	if _, err := io.ReadFull(at.farIn, b); err != nil || string(b) != text {
		t.Errorf("received %q, %v, want %q", b, err, text)
	}
}

func expectEnd(t *testing.T, at *end, want error) {
	t.Helper()
	if b, err := io.ReadAll(at.farIn); len(b) > 0 || !errors.Is(err, want) {
		t.Errorf("received %q, %v, want the end %v", b, err, want)
	}
}

func (r *rig) done(t *testing.T, cause duplex.Cause, first duplex.Side) duplex.Summary {
	t.Helper()
	res := <-r.result
	r.cancel()
	if res.Cause != cause || res.First != first || (res.Err == nil) != (cause == duplex.Ended) {
		t.Errorf("result %+v (%v), want cause %v, first %v", res, res.Cause, cause, first)
	}
	if aborted := r.edge.wasAborted() && r.origin.wasAborted(); aborted != (cause != duplex.Ended) {
		t.Errorf("aborted: edge %v, origin %v", r.edge.wasAborted(), r.origin.wasAborted())
	}
	return res
}

func TestEndsArePassedOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var up, down int
		var mu sync.Mutex
		r := start(t, &duplex.Copier{HalfCloseIdle: time.Minute, Count: func(to duplex.Side, n int) {
			mu.Lock()
			defer mu.Unlock()
			if to == duplex.Origin {
				up += n
			} else {
				down += n
			}
		}})
		send(t, r.edge, "question")
		expect(t, r.origin, "question")
		_ = r.edge.farOut.Close()
		expectEnd(t, r.origin, nil)
		for range 10 { // slow, but never silent for a minute
			time.Sleep(50 * time.Second) //nolint:forbidigo // fake time
			send(t, r.origin, "part ")
			expect(t, r.edge, "part ")
		}
		_ = r.origin.farOut.Close()
		expectEnd(t, r.edge, nil)
		res := r.done(t, duplex.Ended, duplex.Edge)
		if res.ToOrigin != 8 || res.ToEdge != 50 || up != 8 || down != 50 {
			t.Errorf("bytes %+v, counted %d and %d", res, up, down)
		}
	})
}

func TestOriginEndsFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, &duplex.Copier{HalfCloseIdle: time.Minute})
		_ = r.origin.farOut.Close()
		expectEnd(t, r.edge, nil)
		send(t, r.edge, "still here")
		expect(t, r.origin, "still here")
		_ = r.edge.farOut.Close()
		expectEnd(t, r.origin, nil)
		r.done(t, duplex.Ended, duplex.Origin)
	})
}

// hookedEnd calls onEnd when the end of the other direction is passed on to it.
type hookedEnd struct {
	*end
	onEnd func()
}

func (e hookedEnd) CloseWrite() error {
	err := e.end.CloseWrite()
	e.onEnd()
	return err
}

// TestFirstEndIsRecordedBeforeItIsPassedOn lets the edge end in response to the origin's end, before the copier's CloseWrite
// returns.
func TestFirstEndIsRecordedBeforeItIsPassedOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		edge, origin := newEnd(), newEnd()
		hooked := hookedEnd{edge, func() {
			_ = edge.farOut.Close()
			expectEnd(t, origin, nil)
			synctest.Wait() // until the other direction has recorded its end
		}}
		_ = origin.farOut.Close()
		res := make(chan duplex.Summary, 1)
		go func() { res <- (&duplex.Copier{}).Run(t.Context(), hooked, origin) }()
		if got := <-res; got.Cause != duplex.Ended || got.First != duplex.Origin {
			t.Errorf("result %+v, want the origin's end first", got)
		}
	})
}

func TestSilenceWhileBothAreOpen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, &duplex.Copier{HalfCloseIdle: time.Minute})
		time.Sleep(48 * time.Hour) //nolint:forbidigo // fake time
		send(t, r.origin, "hello")
		expect(t, r.edge, "hello")
		r.cancel()
		expectEnd(t, r.edge, errReset)
		r.done(t, duplex.Cancelled, duplex.Edge)
	})
}

func TestSilenceAfterHalfClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		r := start(t, &duplex.Copier{HalfCloseIdle: time.Minute})
		_ = r.edge.farOut.Close()
		expectEnd(t, r.origin, nil)
		expectEnd(t, r.edge, errReset)
		r.done(t, duplex.Idle, duplex.Edge)
		if took := time.Since(began); took != time.Minute {
			t.Errorf("took %s", took)
		}
	})
}

func TestReaderThatIsStuckAfterHalfClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, &duplex.Copier{HalfCloseIdle: time.Minute})
		_ = r.edge.farOut.Close()
		expectEnd(t, r.origin, nil)
		send(t, r.origin, "nobody reads this")
		r.done(t, duplex.Idle, duplex.Edge)
	})
}

func TestFailures(t *testing.T) {
	for _, tc := range []struct {
		name  string
		do    func(r *rig)
		cause duplex.Cause
		first duplex.Side
	}{
		{"edge reset", func(r *rig) { _ = r.edge.farOut.CloseWithError(errReset) }, duplex.EdgeFailed, duplex.Edge},
		{"origin reset", func(r *rig) { _ = r.origin.farOut.CloseWithError(errReset) }, duplex.OriginFailed, duplex.Origin},
		{"cut short is no end", func(r *rig) { _ = r.origin.farOut.CloseWithError(io.ErrUnexpectedEOF) }, duplex.OriginFailed, duplex.Origin},
		{"edge stops reading", func(r *rig) {
			_ = r.edge.farIn.Close()
			_, _ = io.WriteString(r.origin.farOut, "x")
		}, duplex.Cancelled, duplex.Edge},
		{"origin stops reading and resets", func(r *rig) {
			_ = r.origin.farIn.Close()
			_, _ = io.WriteString(r.edge.farOut, "x")
			_ = r.origin.farOut.CloseWithError(errReset)
		}, duplex.OriginFailed, duplex.Origin},
		{"origin takes nothing in time", func(r *rig) {
			_ = r.origin.farIn.CloseWithError(os.ErrDeadlineExceeded)
			_, _ = io.WriteString(r.edge.farOut, "x")
		}, duplex.OriginFailed, duplex.Origin},
		{"edge reset after origin ended", func(r *rig) {
			_ = r.origin.farOut.Close()
			synctest.Wait()
			_ = r.edge.farOut.CloseWithError(errReset)
		}, duplex.EdgeFailed, duplex.Origin},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := start(t, &duplex.Copier{HalfCloseIdle: time.Minute})
				tc.do(r)
				r.done(t, tc.cause, tc.first)
			})
		})
	}
}

func TestOriginThatTakesNoMoreMayResponse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, &duplex.Copier{HalfCloseIdle: time.Minute})
		_ = r.origin.farIn.Close()
		send(t, r.edge, "too much")
		send(t, r.origin, "no, thanks")
		expect(t, r.edge, "no, thanks")
		_ = r.origin.farOut.Close()
		expectEnd(t, r.edge, nil)
		r.done(t, duplex.Ended, duplex.Origin)
	})
}

func TestLargeStream(t *testing.T) {
	r := start(t, &duplex.Copier{})
	want := strings.Repeat("0123456789abcdef", 1<<16)
	go func() {
		_, _ = io.WriteString(r.origin.farOut, want)
		_, _ = io.WriteString(r.origin.farOut, "tail")
		_ = r.origin.farOut.Close()
	}()
	b, err := io.ReadAll(r.edge.farIn)
	if string(b) != want+"tail" || err != nil {
		t.Errorf("received %d bytes, %v", len(b), err)
	}
	_ = r.edge.farOut.Close()
	r.done(t, duplex.Ended, duplex.Origin)
}

// pair is a TCP connection within this process.
func pair(t *testing.T) (near, far *net.TCPConn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	f, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	return c.(*net.TCPConn), f.(*net.TCPConn)
}

func TestConn(t *testing.T) {
	near, far := pair(t)
	defer far.Close()
	c := &duplex.Conn{NetConn: near, From: io.MultiReader(strings.NewReader("early "), near), WriteTimeout: time.Minute}
	if _, err := io.WriteString(far, "late"); err != nil {
		t.Fatal(err)
	}
	_ = far.CloseWrite()
	if b, err := io.ReadAll(c); string(b) != "early late" || err != nil {
		t.Errorf("read %q, %v", b, err)
	}
	if _, err := io.WriteString(c, "x"); err != nil {
		t.Error(err)
	}
	if err := c.CloseWrite(); err != nil {
		t.Error(err)
	}
	if b, err := io.ReadAll(far); string(b) != "x" || err != nil {
		t.Errorf("far end read %q, %v", b, err)
	}
	c.Close()
}

func TestConnAbortResets(t *testing.T) {
	near, far := pair(t)
	defer far.Close()
	c := &duplex.Conn{NetConn: near}
	c.Abort()
	c.Abort()
	if _, err := far.Read(make([]byte, 1)); err == nil || err == io.EOF { //nolint:errorlint // an orderly end is what must not be
		t.Errorf("far end read %v, want a reset", err)
	}
}

func TestHead(t *testing.T) {
	e := newEnd()
	go func() {
		_, _ = io.WriteString(e.farOut, "second")
		_ = e.farOut.Close()
	}()
	if b, err := io.ReadAll(&duplex.Head{End: e, First: []byte("first ")}); string(b) != "first second" || err != nil {
		t.Errorf("read %q, %v", b, err)
	}
}
