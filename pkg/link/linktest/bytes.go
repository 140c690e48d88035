package linktest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/culvert-tunnel/culvert/pkg/link"
)

// echo responds with the request.
func echo(_ context.Context, _ link.Meta, s link.Stream) {
	if _, err := io.Copy(onlyWriter{s}, onlyReader{s}); err != nil {
		s.Abort()
		return
	}
	_ = s.CloseWrite() // a failure shows at the other end
}

type onlyWriter struct{ io.Writer }

type onlyReader struct{ io.Reader }

func testWhole(t *testing.T, setup Setup) {
	c := setup(t, link.HandlerFunc(echo))
	for range 3 {
		v, done := flow(t, c, "hello", true)
		wantResponse(t, v, "hello")
		wantErr(t, wait(t, done), nil)
	}
}

func testMeta(t *testing.T, setup Setup) {
	got := make(chan link.Meta, 1)
	c := setup(t, link.HandlerFunc(func(ctx context.Context, m link.Meta, s link.Stream) {
		got <- m
		echo(ctx, m, s)
	}))
	v, done := flow(t, c, "", true)
	wantResponse(t, v, "")
	wantErr(t, wait(t, done), nil)
	if m := receive(t, got, "no metadata"); m != meta() {
		t.Errorf("metadata = %+v, want %+v", m, meta())
	}
}

// testRepeat: the mark of a repeat reaches the handler, and an abort by the handler is the only response to it.
func testRepeat(t *testing.T, setup Setup) {
	got := make(chan link.Meta, 1)
	c := setup(t, link.HandlerFunc(func(ctx context.Context, m link.Meta, s link.Stream) {
		got <- m
		if m.Index == 0 {
			s.Abort()
			return
		}
		echo(ctx, m, s)
	}))
	for _, m := range []link.Meta{{Index: 1, Repeat: true}, {Index: 1}, {Index: 0, Repeat: true}} {
		v, e := NewVisitor()
		done := make(chan error, 1)
		go func() { done <- c.Carry(t.Context(), link.Flow{Meta: m, Stream: e, First: []byte("hello"), EOF: true}) }()
		if m.Index == 0 {
			if b, err := io.ReadAll(v); !errors.Is(err, ErrReset) || len(b) > 0 {
				t.Errorf("response = %q, %v, want a reset", b, err)
			}
			wantErr(t, wait(t, done), link.ErrReset)
		} else {
			wantResponse(t, v, "hello")
			wantErr(t, wait(t, done), nil)
		}
		if g := receive(t, got, "no metadata"); g != m {
			t.Errorf("metadata = %+v, want %+v", g, m)
		}
	}
}

func testLateFIN(t *testing.T, setup Setup) {
	c := setup(t, link.HandlerFunc(echo))
	for range 20 {
		v, done := flow(t, c, "head ", false)
		go func() {
			_, _ = io.WriteString(v, "tail") // a failure shows in the response
			v.CloseWrite()
		}()
		wantResponse(t, v, "head tail")
		wantErr(t, wait(t, done), nil)
	}
}

func testDuplex(t *testing.T, setup Setup) {
	c := setup(t, link.HandlerFunc(echo))
	v, done := flow(t, c, "go", false)
	buf := make([]byte, 64)
	n, err := io.ReadAtLeast(v, buf, 2)
	if err != nil || string(buf[:n]) != "go" {
		t.Fatalf("first echo = %q, %v", buf[:n], err)
	}
	for i := range 200 {
		msg := fmt.Sprintf("message %d", i)
		if _, err := io.WriteString(v, msg); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(v, buf[:len(msg)]); err != nil || string(buf[:len(msg)]) != msg {
			t.Fatalf("echo = %q, %v, want %q", buf[:len(msg)], err, msg)
		}
	}
	v.CloseWrite()
	wantResponse(t, v, "")
	wantErr(t, wait(t, done), nil)
}

func testRequestHalfClose(t *testing.T, setup Setup) {
	c := setup(t, link.HandlerFunc(func(_ context.Context, _ link.Meta, s link.Stream) {
		b, err := io.ReadAll(s)
		if err != nil {
			return
		}
		_, _ = fmt.Fprintf(s, "got %d", len(b)) // a failure shows at the other end
		_ = s.CloseWrite()
	}))
	v, done := flow(t, c, "", false)
	for range 10 {
		if _, err := v.Write(make([]byte, 1000)); err != nil {
			t.Fatal(err)
		}
	}
	v.CloseWrite()
	wantResponse(t, v, "got 10000")
	wantErr(t, wait(t, done), nil)
}

func testResponseHalfClose(t *testing.T, setup Setup) {
	got := make(chan string, 1)
	c := setup(t, link.HandlerFunc(func(ctx context.Context, _ link.Meta, s link.Stream) {
		_, _ = io.WriteString(s, "done") // a failure shows at the other end
		_ = s.CloseWrite()
		b, err := io.ReadAll(s)
		got <- fmt.Sprintf("%s %v %v", b, err, ctx.Err())
	}))
	v, done := flow(t, c, "a", false)
	wantResponse(t, v, "done")
	if _, err := io.WriteString(v, "bc"); err != nil {
		t.Fatal(err)
	}
	v.CloseWrite()
	if g := receive(t, got, "handler has not returned"); g != "abc <nil> <nil>" {
		t.Errorf("request after the response = %q", g)
	}
	wantErr(t, wait(t, done), nil)
}

func testEmptyResponse(t *testing.T, setup Setup) {
	c := setup(t, link.HandlerFunc(func(_ context.Context, _ link.Meta, s link.Stream) {
		_ = s.CloseWrite() // a failure shows at the other end
	}))
	v, done := flow(t, c, "x", true)
	wantResponse(t, v, "")
	wantErr(t, wait(t, done), nil)
}

func testBuffer(t *testing.T, setup Setup) {
	big := strings.Repeat("0123456789abcdef", 10000)
	c := setup(t, link.HandlerFunc(func(_ context.Context, _ link.Meta, s link.Stream) {
		for _, p := range []string{"head", " more ", big, "!"} {
			_ = s.Buffer([]byte(p)) // a failure shows at the other end
		}
		_, _ = io.WriteString(s, "body")
		_ = s.Buffer([]byte("tail"))
		_, _ = io.WriteString(s, big)
		_ = s.Buffer([]byte("end"))
		_ = s.CloseWrite()
		_ = s.CloseWrite()
	}))
	for range 3 {
		v, done := flow(t, c, "x", true)
		wantResponse(t, v, "head more "+big+"!bodytail"+big+"end")
		wantErr(t, wait(t, done), nil)
	}
}

func testFlushDelay(t *testing.T, setup Setup) {
	c := setup(t, link.HandlerFunc(func(ctx context.Context, _ link.Meta, s link.Stream) {
		_ = s.Buffer([]byte("event")) // a failure shows at the other end
		_, _ = io.ReadAll(s)
		_ = s.CloseWrite()
	}))
	v, done := flow(t, c, "x", false)
	buf := make([]byte, 5)
	if _, err := io.ReadFull(v, buf); err != nil || string(buf) != "event" {
		t.Errorf("event = %q, %v", buf, err)
	}
	v.CloseWrite()
	wantResponse(t, v, "")
	wantErr(t, wait(t, done), nil)
}

// testEmptyWrite asks for the buffered bytes to be sent when there are none: the visitor, who does not read yet, must not
// hold that up.
func testEmptyWrite(t *testing.T, setup Setup) {
	written := make(chan error, 1)
	c := setup(t, link.HandlerFunc(func(_ context.Context, _ link.Meta, s link.Stream) {
		_, err := s.Write(nil)
		written <- err
		_, _ = io.WriteString(s, "response") // a failure shows at the other end
		_ = s.CloseWrite()
	}))
	v, done := flow(t, c, "x", true)
	wantErr(t, receive(t, written, "an empty write has not returned"), nil)
	wantResponse(t, v, "response")
	wantErr(t, wait(t, done), nil)
}

// pattern is reproducible and does not repeat at the size of any buffer.
func pattern(n int) []byte {
	b := make([]byte, n)
	x := uint32(1)
	for i := range b {
		x = x*1664525 + 1013904223
		b[i] = byte(x >> 24)
	}
	return b
}

func testLarge(t *testing.T, setup Setup) {
	body := pattern(2 << 20)
	c := setup(t, link.HandlerFunc(echo))
	for range 2 {
		v, done := flow(t, c, "", false)
		go func() {
			_, _ = v.Write(body) // a failure shows in the response
			v.CloseWrite()
		}()
		h := sha256.New()
		buf := make([]byte, 10007)
		n, err := io.CopyBuffer(onlyWriter{h}, onlyReader{v}, buf)
		if want := sha256.Sum256(body); err != nil || !bytes.Equal(h.Sum(nil), want[:]) {
			t.Errorf("echo of %d bytes: %d bytes, %v, or another sum", len(body), n, err)
		}
		wantErr(t, wait(t, done), nil)
	}
}

func testLargeFirst(t *testing.T, setup Setup) {
	first := string(pattern(300 << 10))
	c := setup(t, link.HandlerFunc(echo))
	v, done := flow(t, c, first, true)
	wantResponse(t, v, first)
	wantErr(t, wait(t, done), nil)
}

// testBackPressure: a visitor that does not read stops the handler, long before everything is in memory.
func testBackPressure(t *testing.T, setup Setup) {
	const total, bound = 20 << 20, 16 << 20 // bound is more than all socket buffers of the system on the way
	var written atomic.Int64
	chunk := pattern(64 << 10)
	c := setup(t, link.HandlerFunc(func(_ context.Context, _ link.Meta, s link.Stream) {
		for written.Load() < total {
			n, err := s.Write(chunk)
			written.Add(int64(n))
			if err != nil {
				return
			}
		}
		_ = s.CloseWrite() // a failure shows at the other end
	}))
	v, done := flow(t, c, "x", true)
	if _, err := io.CopyN(io.Discard, v, 1<<20); err != nil {
		t.Fatal(err)
	}
	stable := 0
	last := int64(-1)
	eventually(t, func() bool {
		now := written.Load()
		if now != last {
			stable = 0
		}
		last = now
		stable++
		return stable > 50
	}, "the handler never stopped writing")
	if last > bound {
		t.Errorf("handler wrote %d bytes to a visitor that had read 1 MiB", last)
	}
	n, err := io.Copy(io.Discard, v)
	if err != nil || n != total-1<<20 {
		t.Errorf("rest of the response = %d, %v", n, err)
	}
	wantErr(t, wait(t, done), nil)
}

func testMany(t *testing.T, setup Setup) {
	c := setup(t, link.HandlerFunc(echo))
	var wg sync.WaitGroup
	for i := range 32 {
		wg.Go(func() {
			for j := range 20 {
				first := fmt.Sprintf("request %d %d", i, j)
				v, done := flow(t, c, first, j%2 == 0)
				rest := ""
				if j%2 == 1 {
					rest = strings.Repeat(first, 1000)
					go func() {
						_, _ = io.WriteString(v, rest) // a failure shows in the response
						v.CloseWrite()
					}()
				}
				got, err := io.ReadAll(v)
				if err != nil || string(got) != first+rest {
					t.Errorf("response to %q: %d bytes, %v", first, len(got), err)
				}
				if err := <-done; err != nil {
					t.Errorf("Carry of %q = %v", first, err)
				}
			}
		})
	}
	wg.Wait()
}
