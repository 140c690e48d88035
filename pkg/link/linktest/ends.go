package linktest

import (
	"context"
	"errors"
	"io"
	"testing"

	"github.com/culvert-tunnel/culvert/pkg/link"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

func testEarlyResponse(t *testing.T, setup Setup) {
	c := setup(t, link.HandlerFunc(func(_ context.Context, _ link.Meta, s link.Stream) {
		_, _ = io.WriteString(s, "too large") // a failure shows at the other end
		_ = s.CloseWrite()
	}))
	for range 2 {
		v, done := flow(t, c, "x", false)
		stopped := make(chan error, 1)
		go func() {
			for {
				if _, err := v.Write(make([]byte, 32<<10)); err != nil {
					stopped <- err
					return
				}
			}
		}()
		wantResponse(t, v, "too large")
		wantErr(t, wait(t, done), nil)
		wantErr(t, receive(t, stopped, "the request was not stopped"), ErrStopped)
	}
}

func untilDone(ended chan<- error) link.Handler {
	return link.HandlerFunc(func(ctx context.Context, _ link.Meta, s link.Stream) {
		_, _ = io.WriteString(s, "started") // a failure shows at the other end
		<-ctx.Done()
		ended <- ctx.Err()
	})
}

func awaitStart(t *testing.T, v *Visitor) {
	t.Helper()
	if _, err := io.ReadFull(v, make([]byte, len("started"))); err != nil {
		t.Fatal(err)
	}
}

func testVisitorLeaves(t *testing.T, setup Setup) {
	for _, eof := range []bool{true, false} {
		ended := make(chan error, 1)
		c := setup(t, untilDone(ended))
		v, done := flow(t, c, "x", eof)
		awaitStart(t, v)
		v.Leave()
		_ = receive(t, ended, "the handler's context has not ended")
		wantErr(t, wait(t, done), link.ErrEdge)
	}
}

func testVisitorLeavesWriter(t *testing.T, setup Setup) {
	ended := make(chan error, 1)
	c := setup(t, link.HandlerFunc(func(_ context.Context, _ link.Meta, s link.Stream) {
		chunk := make([]byte, 4096)
		for {
			if _, err := s.Write(chunk); err != nil {
				ended <- err
				s.Abort()
				return
			}
		}
	}))
	v, done := flow(t, c, "x", true)
	if _, err := io.ReadFull(v, make([]byte, 10000)); err != nil {
		t.Fatal(err)
	}
	v.Leave()
	_ = receive(t, ended, "the handler's write has not failed")
	wantErr(t, wait(t, done), link.ErrEdge)
}

func testVisitorResets(t *testing.T, setup Setup) {
	got := make(chan error, 1)
	c := setup(t, link.HandlerFunc(func(_ context.Context, _ link.Meta, s link.Stream) {
		_, err := io.Copy(io.Discard, onlyReader{s})
		got <- err
		s.Abort()
	}))
	v, done := flow(t, c, "x", false)
	v.Reset()
	if err := receive(t, got, "the handler's read has not ended"); err == nil {
		t.Error("a reset request was read as a complete one")
	}
	wantErr(t, wait(t, done), link.ErrEdge)
	if _, err := io.ReadAll(v); !errors.Is(err, ErrReset) {
		t.Errorf("response ended with %v, want a reset", err)
	}
}

func testContextEnds(t *testing.T, setup Setup) {
	ended := make(chan error, 1)
	c := setup(t, untilDone(ended))
	ctx, cancel := context.WithCancelCause(t.Context())
	v, done := flowContext(ctx, c, "x", false)
	awaitStart(t, v)
	cancel(tunnel.ErrDraining)
	_ = receive(t, ended, "the handler's context has not ended")
	err := wait(t, done)
	wantErr(t, err, link.ErrEdge)
	wantErr(t, err, tunnel.ErrDraining)
	if _, err := io.ReadAll(v); !errors.Is(err, ErrReset) {
		t.Errorf("response ended with %v, want a reset", err)
	}
}

func testAbort(t *testing.T, setup Setup) {
	for _, eof := range []bool{true, false} {
		c := setup(t, link.HandlerFunc(func(_ context.Context, _ link.Meta, s link.Stream) {
			s.Abort()
			if _, err := s.Write([]byte("x")); err == nil {
				t.Error("write after Abort gave no error")
			}
			if err := s.CloseWrite(); err == nil {
				t.Error("CloseWrite after Abort gave no error")
			}
		}))
		v, done := flow(t, c, "x", eof)
		if b, err := io.ReadAll(v); !errors.Is(err, ErrReset) || len(b) > 0 {
			t.Errorf("response = %q, %v, want a reset", b, err)
		}
		wantErr(t, wait(t, done), link.ErrReset)
	}
}

func testAbortInMiddle(t *testing.T, setup Setup) {
	read := make(chan struct{})
	c := setup(t, link.HandlerFunc(func(_ context.Context, _ link.Meta, s link.Stream) {
		_, _ = io.WriteString(s, "started") // a failure shows at the other end
		<-read
		failed := make(chan error)
		go func() {
			_, err := io.Copy(io.Discard, onlyReader{s})
			failed <- err
		}()
		s.Abort()
		if err := <-failed; err == nil {
			t.Error("a read that Abort interrupted ended like a complete request")
		}
	}))
	v, done := flow(t, c, "", false)
	awaitStart(t, v)
	close(read)
	if b, err := io.ReadAll(v); !errors.Is(err, ErrReset) || len(b) > 0 {
		t.Errorf("response = %q, %v, want a reset", b, err)
	}
	wantErr(t, wait(t, done), link.ErrReset)
}

func testNoEnd(t *testing.T, setup Setup) {
	c := setup(t, link.HandlerFunc(func(_ context.Context, _ link.Meta, s link.Stream) {
		_, _ = io.WriteString(s, "half") // a failure shows at the other end
	}))
	v, done := flow(t, c, "x", true)
	if b, err := io.ReadAll(v); !errors.Is(err, ErrReset) || string(b) != "half" {
		t.Errorf("response = %q, %v, want half of it and a reset", b, err)
	}
	wantErr(t, wait(t, done), link.ErrReset)
}
