package transporttest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/transport"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

// patience bounds the waits of a test that would fail otherwise. No test passes because of it.
const patience = 20 * time.Second

// Run checks the contract with a transport that can do everything.
func Run(t *testing.T, setup Setup) { RunLimited(t, setup, Limits{}) }

// RunLimited checks the contract with a transport that cannot do all of it, and for each limit what the transport does
// instead.
func RunLimited(t *testing.T, setup Setup, limits Limits) {
	tests := []struct {
		name string
		run  func(t *testing.T, p pair)
	}{
		{"duplex", testDuplex},
		{"half-close", testHalfClose},
		{"large bodies both ways", testLarge},
		{"reset by the writer", testCancelWrite},
		{"stopped by the reader", testCancelRead},
		{"reset after half-close of the other direction", testIndependent},
		{"loss of the session", testLoss},
		{"loss while waiting", testLossWhileWaiting},
		{"close is idempotent", testCloseTwice},
		{"back-pressure", testBackPressure},
		{"deadlines", testDeadlines},
		{"context of an accept", testAcceptContext},
		{"datagrams", testDatagrams},
		{"many streams", testMany},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a, b := setup(t)
			tt.run(t, pair{Limits: limits, near: a, far: b, nearAccepted: false})
		})
		t.Run(tt.name+" the other way", func(t *testing.T) {
			a, b := setup(t)
			tt.run(t, pair{Limits: limits, near: b, far: a, nearAccepted: true})
		})
	}
}

func write(t *testing.T, w io.Writer, s string) {
	t.Helper()
	if n, err := io.WriteString(w, s); err != nil || n != len(s) {
		t.Fatalf("write of %q = %d, %v", s, n, err)
	}
}

func read(t *testing.T, r io.Reader, want string) {
	t.Helper()
	buf := make([]byte, len(want))
	if _, err := io.ReadFull(r, buf); err != nil || string(buf) != want {
		t.Fatalf("read = %q, %v, want %q", buf, err, want)
	}
}

func wantEOF(t *testing.T, r io.Reader) {
	t.Helper()
	if n, err := r.Read(make([]byte, 1)); n != 0 || err != io.EOF {
		t.Errorf("read after FIN = %d, %v, want io.EOF", n, err)
	}
}

func wantReset(t *testing.T, what string, err error, remote bool) {
	t.Helper()
	var se *transport.StreamError
	if !errors.As(err, &se) || se.Remote != remote || !errors.Is(err, transport.ErrReset) || errors.Is(err, io.EOF) {
		t.Errorf("%s = %v, want a stream error with Remote %v", what, err, remote)
	}
}

func wantReason(t *testing.T, what string, err error) {
	t.Helper()
	var ce *tunnel.ConnError
	if !errors.As(err, &ce) || errors.Is(err, io.EOF) {
		t.Errorf("%s = %v, want a *tunnel.ConnError", what, err)
	}
}

func receive[T any](t *testing.T, ch <-chan T, complaint string) T {
	t.Helper()
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case v := <-ch:
		return v
	case <-timer.C:
		t.Fatal(complaint)
		panic("not reached")
	}
}

// failing repeats a write until it fails, since a reset by the peer takes time to arrive.
func failing(w io.Writer) <-chan error {
	ch := make(chan error, 1)
	go func() {
		for {
			if _, err := w.Write(make([]byte, 1024)); err != nil {
				ch <- err
				return
			}
		}
	}()
	return ch
}

func testDuplex(t *testing.T, p pair) {
	near, far := p.open(t)
	for i := range 50 {
		msg := fmt.Sprintf("message %d", i)
		write(t, near, msg)
		read(t, far, msg)
		write(t, far, msg)
		read(t, near, msg)
	}
}

func testHalfClose(t *testing.T, p pair) {
	near, far := p.open(t)
	write(t, near, "question")
	if err := near.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if err := near.CloseWrite(); err != nil {
		t.Errorf("second CloseWrite = %v", err)
	}
	receive(t, near.Context().Done(), "context has not ended with the write side")
	read(t, far, "question")
	wantEOF(t, far)
	wantEOF(t, far)
	if far.Context().Err() != nil {
		t.Error("context ended though the write side is open")
	}
	write(t, far, "response")
	if err := far.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	read(t, near, "response")
	wantEOF(t, near)
	if _, err := near.Write([]byte("x")); err == nil {
		t.Error("write after CloseWrite gave no error")
	}
}

func testLarge(t *testing.T, p pair) {
	body := bytes.Repeat([]byte("0123456789abcde"), 200_000)
	near, far := p.open(t)
	go func() {
		_, _ = io.Copy(far, far) // an echo; the other end sees a failure
		_ = far.CloseWrite()
	}()
	go func() {
		_, _ = near.Write(body) // a failure shows in the echo
		_ = near.CloseWrite()
	}()
	got, err := io.ReadAll(near)
	if err != nil || !bytes.Equal(got, body) {
		t.Errorf("echo of %d bytes: %d bytes, %v", len(body), len(got), err)
	}
}

func testCancelWrite(t *testing.T, p pair) {
	near, far := p.open(t)
	near.CancelWrite(0)
	near.CancelWrite(0)
	receive(t, near.Context().Done(), "context has not ended with the reset")
	_, err := io.Copy(io.Discard, far)
	wantReset(t, "read after the peer's reset", err, true)
	_, err = near.Write([]byte("x"))
	wantReset(t, "write after our reset", err, false)
	if err := near.CloseWrite(); err == nil {
		t.Error("CloseWrite after CancelWrite gave no error")
	}
	if p.WholeReset {
		wantReset(t, "write after the peer's reset", receive(t, failing(far), "writes go on after the peer's reset"), true)
		_, err = near.Read(make([]byte, 1))
		wantReset(t, "read after our reset", err, false)
		return
	}
	write(t, far, "still open")
	read(t, near, "still open")
}

func testCancelRead(t *testing.T, p pair) {
	near, far := p.open(t)
	far.CancelRead(0)
	far.CancelRead(0)
	_, err := far.Read(make([]byte, 1))
	wantReset(t, "read after our stop", err, false)
	if p.farStopsSilently() {
		checkSilentStop(t, near, far)
		return
	}
	wantReset(t, "write after the peer's stop", receive(t, failing(near), "writes go on after the peer's stop"), true)
	receive(t, near.Context().Done(), "context has not ended with the peer's stop")
	if p.WholeReset {
		_, err = far.Write([]byte("x"))
		wantReset(t, "write after our stop", err, false)
		return
	}
	write(t, far, "still open")
	read(t, near, "still open")
}

// checkSilentStop checks that near can send without effect until far has ended its direction.
func checkSilentStop(t *testing.T, near, far transport.Stream) {
	t.Helper()
	if n, err := near.Write(make([]byte, 8<<20)); n != 8<<20 || err != nil {
		t.Errorf("write to a peer that drops = %d, %v", n, err)
	}
	write(t, far, "still open")
	read(t, near, "still open")
	if err := far.CloseWrite(); err != nil {
		t.Error(err)
	}
	wantEOF(t, near)
	wantReset(t, "write after the peer's end", receive(t, failing(near), "writes go on after the peer's end"), true)
	receive(t, near.Context().Done(), "context has not ended with the peer's end")
	if err := near.CloseWrite(); err != nil {
		t.Errorf("CloseWrite towards a peer that wants no more = %v", err)
	}
}

func testIndependent(t *testing.T, p pair) {
	near, far := p.open(t)
	if err := near.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	wantEOF(t, far)
	far.CancelWrite(0)
	_, err := io.Copy(io.Discard, near)
	wantReset(t, "read after the peer's reset", err, true)
}

func testLoss(t *testing.T, p pair) {
	near, far := p.open(t)
	if err := p.near.CloseWithError(0, "test"); err != nil {
		t.Fatal(err)
	}
	receive(t, p.far.Context().Done(), "the peer's session has not ended")
	_, err := io.Copy(io.Discard, far)
	wantReason(t, "read after the loss", err)
	wantReason(t, "write after the loss", receive(t, failing(far), "writes go on after the loss"))
	_, err = io.Copy(io.Discard, near)
	wantReason(t, "read after our close", err)
	receive(t, far.Context().Done(), "context has not ended with the session")
	wantReason(t, "cause of our session", context.Cause(p.near.Context()))
	wantReason(t, "cause of the peer's session", context.Cause(p.far.Context()))
	if r := tunnel.ReasonOf(context.Cause(p.far.Context())); r != tunnel.ReasonPeerClosed {
		t.Errorf("the peer's session ended with reason %q, want peer_closed", r)
	}
	_, err = p.far.OpenStream(t.Context())
	wantReason(t, "open after the loss", err)
	_, err = p.far.AcceptStream(t.Context())
	wantReason(t, "accept after the loss", err)
}

func testLossWhileWaiting(t *testing.T, p pair) {
	_, far := p.open(t)
	got := make(chan error, 3)
	go func() {
		_, err := far.Read(make([]byte, 1))
		got <- err
	}()
	go func() {
		_, err := p.far.AcceptStream(context.WithoutCancel(t.Context()))
		got <- err
	}()
	go func() {
		_, err := p.far.ReceiveDatagram(context.WithoutCancel(t.Context()))
		got <- err
	}()
	if err := p.near.CloseWithError(0, "test"); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		wantReason(t, "waiting call", receive(t, got, "a waiting call has not noticed the loss"))
	}
}

func testCloseTwice(t *testing.T, p pair) {
	for range 2 {
		if err := p.near.CloseWithError(0, "test"); err != nil {
			t.Errorf("CloseWithError = %v", err)
		}
	}
	receive(t, p.near.Context().Done(), "the session has not ended")
}

func testBackPressure(t *testing.T, p pair) {
	const bound = 32 << 20
	near, far := p.open(t)
	var written atomic.Int64
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			n, err := near.Write(make([]byte, 64<<10))
			written.Add(int64(n))
			if err != nil {
				return
			}
		}
	}()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	last, stable := int64(-1), 0
	for stable < 50 {
		<-tick.C
		now := written.Load()
		if stable++; now != last {
			last, stable = now, 0
		}
		if now > bound {
			t.Fatalf("%d bytes were written to a peer that does not read", now)
		}
	}
	if p.farStopsSilently() {
		near.CancelWrite(0)
	} else {
		far.CancelRead(0)
	}
	receive(t, done, "a blocked write has not noticed the stop")
}

func testDeadlines(t *testing.T, p pair) {
	near, far := p.open(t)
	if err := near.SetReadDeadline(time.Now().Add(-time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := near.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("read after the deadline = %v", err)
	}
	if err := near.SetReadDeadline(time.Time{}); err != nil {
		t.Fatal(err)
	}
	write(t, far, "x")
	read(t, near, "x")

	got := make(chan error, 1)
	go func() {
		_, err := near.Read(make([]byte, 1))
		got <- err
	}()
	if err := near.SetReadDeadline(time.Now()); err != nil {
		t.Fatal(err)
	}
	if err := receive(t, got, "a waiting read has not noticed the deadline"); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("interrupted read = %v", err)
	}
}

func testAcceptContext(t *testing.T, p pair) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := p.near.AcceptStream(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("accept with an ended context = %v", err)
	}
	if _, err := p.near.ReceiveDatagram(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("datagram with an ended context = %v", err)
	}
}

func testDatagrams(t *testing.T, p pair) {
	if p.NoDatagrams {
		if err := p.near.SendDatagram([]byte("datagram")); !errors.Is(err, transport.ErrDatagramUnsupported) {
			t.Errorf("datagram without datagrams = %v", err)
		}
		return
	}
	got := make(chan []byte, 1)
	go func() {
		if d, err := p.far.ReceiveDatagram(t.Context()); err == nil {
			got <- d
		}
	}()
	// Datagrams may be lost, so they are repeated.
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	timeout := time.NewTimer(patience)
	defer timeout.Stop()
	for {
		if err := p.near.SendDatagram([]byte("datagram")); err != nil {
			t.Fatal(err)
		}
		select {
		case d := <-got:
			if string(d) != "datagram" {
				t.Errorf("datagram = %q", d)
			}
			if err := p.near.SendDatagram(make([]byte, 8<<10)); !errors.Is(err, transport.ErrDatagramTooLarge) {
				t.Errorf("a datagram larger than a packet = %v", err)
			}
			return
		case <-tick.C:
		case <-timeout.C:
			t.Fatal("no datagram came")
		}
	}
}

func testMany(t *testing.T, p pair) {
	const n = 200
	var wg sync.WaitGroup
	wg.Go(func() {
		var echoes sync.WaitGroup
		defer echoes.Wait()
		for range n {
			s, err := p.acceptor().AcceptStream(t.Context())
			if err != nil {
				t.Error(err)
				return
			}
			echoes.Go(func() {
				if p.Greeting != nil {
					if err := p.Greeting.Respond(s); err != nil {
						t.Error(err)
					}
				}
				_, _ = io.Copy(s, s) // the other end sees a failure
				_ = s.CloseWrite()
			})
		}
	})
	for i := range n {
		wg.Go(func() {
			s, err := p.request(t.Context())
			if err != nil {
				t.Error(err)
				return
			}
			want := bytes.Repeat([]byte{byte(i)}, 1000+i*100)
			go func() {
				_, _ = s.Write(want) // a failure shows in the echo
				_ = s.CloseWrite()
			}()
			if got, err := io.ReadAll(s); err != nil || !bytes.Equal(got, want) {
				t.Errorf("echo %d: %d bytes, %v", i, len(got), err)
			}
		})
	}
	wg.Wait()
}
