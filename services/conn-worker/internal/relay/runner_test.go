package relay

import (
	"context"
	"io"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/link"
	"github.com/culvert-tunnel/culvert/pkg/testkit"
	"github.com/culvert-tunnel/culvert/pkg/transport"
)

// waiting is the number of idle runners.
func (s *Session) waiting() int {
	s.runners.mu.Lock()
	defer s.runners.mu.Unlock()
	return len(s.runners.idle)
}

func TestRunnersStay(t *testing.T) {
	var hold atomic.Pointer[chan struct{}]
	serve, o := limited(t, Limits{HeadTimeout: time.Minute}, func(_ context.Context, f link.Flow) error {
		if c := hold.Load(); c != nil {
			<-*c
		}
		return f.Stream.CloseWrite()
	})
	edge, s := serve()
	for i := range 20 {
		if _, err := io.ReadAll(open(t, edge, request(t))); err != nil {
			t.Fatalf("stream %d: %v", i, err)
		}
		testkit.Eventually(t, "its runner waits", func() bool { return s.waiting() == 1 })
	}
	gate := make(chan struct{})
	hold.Store(&gate)
	const many = 3 * idleRunners
	for range many {
		open(t, edge, request(t))
	}
	testkit.Eventually(t, "all are served at a time", func() bool { return s.InFlight() == many })
	if n := s.waiting(); n != 0 {
		t.Errorf("%d runners idle while streams came that needed new ones", n)
	}
	close(gate)
	testkit.Eventually(t, "all have ended", func() bool { return o.of[Done].Load() == 20+many })
	testkit.Eventually(t, "no more than the limit stay", func() bool { return s.InFlight() == 0 && s.waiting() == idleRunners })
	s.runners.trim() // they were needed a moment ago
	if n := s.waiting(); n != idleRunners {
		t.Errorf("%d runners are left that were needed", n)
	}
	if _, err := io.ReadAll(open(t, edge, request(t))); err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, "all wait again", func() bool { return s.waiting() == idleRunners })
	s.runners.trim()
	if n := s.waiting(); n != 1 {
		t.Errorf("%d runners are left, want the one that was needed", n)
	}
	s.runners.trim()
	if n := s.waiting(); n != 0 {
		t.Errorf("%d runners are left that were not needed", n)
	}
}

// readStopped notes that its reads were ended.
type readStopped struct {
	transport.Stream
	at atomic.Int64
}

func (r *readStopped) CancelRead(transport.Code) { r.at.Store(time.Now().UnixNano()) }

func TestGuard(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g guard
		var first, second, third readStopped
		g.begin(&first, time.Second)
		time.Sleep(999 * time.Millisecond) //nolint:forbidigo // fake time
		g.end()
		g.begin(&second, time.Second)
		g.expire() // the timer of the first stream, run late
		if first.at.Load() != 0 || second.at.Load() != 0 {
			t.Fatal("a stream was ended before its time")
		}
		began := time.Now()
		time.Sleep(time.Second) //nolint:forbidigo // fake time
		synctest.Wait()
		if at := second.at.Load(); at != began.Add(time.Second).UnixNano() {
			t.Errorf("the second stream was ended at %d, want one second after %d", at, began.UnixNano())
		}
		g.end()
		g.begin(&third, time.Second)
		g.end()
		time.Sleep(time.Hour) //nolint:forbidigo // fake time
		synctest.Wait()
		if first.at.Load() != 0 || third.at.Load() != 0 {
			t.Error("a stream that spoke in time was ended")
		}
	})
}
