package linktest

import (
	"context"
	"io"
	"testing"

	"github.com/culvert-tunnel/culvert/pkg/link"
)

// flowOf starts a flow of a kind that needs no first bytes.
func flowOf(t *testing.T, c link.Carrier, kind link.Kind) (*Visitor, <-chan error) {
	t.Helper()
	v, e := NewVisitor()
	m := meta()
	m.Kind = kind
	done := make(chan error, 1)
	go func() { done <- c.Carry(t.Context(), link.Flow{Meta: m, Stream: e}) }()
	return v, done
}

func testKinds(t *testing.T, setup Setup) {
	got := make(chan link.Kind, 1)
	c := setup(t, link.HandlerFunc(func(ctx context.Context, m link.Meta, s link.Stream) {
		got <- m.Kind
		echo(ctx, m, s)
	}))
	for _, kind := range []link.Kind{link.KindStream, link.KindDatagrams, link.KindConfig} {
		v, done := flowOf(t, c, kind)
		v.CloseWrite()
		wantResponse(t, v, "")
		wantErr(t, wait(t, done), nil)
		if k := receive(t, got, "no metadata"); k != kind {
			t.Errorf("kind = %d, want %d", k, kind)
		}
	}
}

// testMessages: a silent flow stays open, either side may send the first message, and the proxy may end the flow while the worker
// could still send.
func testMessages(t *testing.T, setup Setup) {
	over := make(chan struct{})
	c := setup(t, link.HandlerFunc(func(_ context.Context, _ link.Meta, s link.Stream) {
		b := make([]byte, 4)
		for i := range 3 {
			if _, err := io.ReadFull(s, b); err != nil {
				if i > 0 {
					t.Errorf("read = %v", err)
				}
				return // the silent flow
			}
			if _, err := s.Write(b); err != nil {
				t.Errorf("write = %v", err)
			}
		}
		<-over
		_, _ = io.WriteString(s, "last") // a failure shows at the other end
		_ = s.CloseWrite()
	}))
	silent, silentDone := flowOf(t, c, link.KindDatagrams)
	v, done := flowOf(t, c, link.KindDatagrams)
	for _, word := range []string{"ping", "pong", "puff"} {
		if _, err := io.WriteString(v, word); err != nil {
			t.Fatal(err)
		}
		b := make([]byte, len(word))
		if _, err := io.ReadFull(v, b); err != nil || string(b) != word {
			t.Fatalf("response = %q, %v, want %q", b, err, word)
		}
	}
	close(over)
	wantResponse(t, v, "last")
	wantErr(t, wait(t, done), nil)
	silent.Leave()
	silent.Reset()
	wantErr(t, wait(t, silentDone), link.ErrEdge)
}
