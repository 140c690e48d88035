package mem_test

import (
	"context"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/culvert-tunnel/culvert/pkg/transport"
	"github.com/culvert-tunnel/culvert/pkg/transport/mem"
	"github.com/culvert-tunnel/culvert/pkg/transport/transporttest"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestContract(t *testing.T) {
	transporttest.Run(t, func(t *testing.T) (transport.Session, transport.Session) {
		a, b := mem.Pair(t.Context())
		t.Cleanup(a.Lose)
		return a, b
	})
}

// TestFakeTime checks that every wait of the package lets the clock of a synctest bubble advance.
func TestFakeTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := mem.Pair(t.Context())
		go func() {
			s, err := b.AcceptStream(t.Context())
			if err != nil {
				return
			}
			<-time.NewTimer(time.Hour).C // on the bubble's clock: the peer is slow
			_, _ = io.Copy(s, s)         // the other end sees a failure
			_ = s.CloseWrite()
		}()
		s, err := a.OpenStream(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		if _, err := s.Write(make([]byte, 100<<10)); err != nil {
			t.Fatal(err)
		}
		go func() { _ = s.CloseWrite() }()
		if n, err := io.Copy(io.Discard, s); n != 100<<10 || err != nil {
			t.Errorf("echo = %d, %v", n, err)
		}
		if d := time.Since(start); d < time.Hour {
			t.Errorf("a write of more than the buffer took %v", d)
		}
		a.Lose()
		if r := tunnel.ReasonOf(context.Cause(b.Context())); r != tunnel.ReasonIdle {
			t.Errorf("reason of a lost session = %q", r)
		}
	})
}

// TestOpenWhileThePeerCloses: a stream or an error, never neither.
func TestOpenWhileThePeerCloses(t *testing.T) {
	for range 200 {
		near, far := mem.Pair(t.Context())
		closed := make(chan struct{})
		go func() {
			defer close(closed)
			_ = far.CloseWithError(transport.NoError, "bye")
		}()
		for {
			st, err := near.OpenStream(t.Context())
			if err != nil {
				break
			}
			if st == nil {
				t.Fatal("neither a stream nor an error")
			}
		}
		<-closed
	}
}
