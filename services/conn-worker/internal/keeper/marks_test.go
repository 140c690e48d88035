package keeper

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

var errMark = errors.New("not marked")

// markStore notes the calls, each of which takes a while.
type markStore struct {
	Store
	calls [][]tunnel.ID
	err   error
}

func (s *markStore) Mark(_ context.Context, tunnels ...tunnel.ID) error {
	time.Sleep(5 * time.Millisecond) //nolint:forbidigo // fake time
	s.calls = append(s.calls, tunnels)
	return s.err
}

// TestMarksShareCalls: a tunnel is marked at once, those that change during a call with one more call, and all get its result.
func TestMarksShareCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &markStore{}
		m := newMarks(store)
		ctx, cancel := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() { m.run(ctx) })
		began := time.Now()
		if err := m.mark(ctx, tunnel.ID{1}); err != nil || time.Since(began) != 5*time.Millisecond {
			t.Errorf("the first mark: %v after %v", err, time.Since(began))
		}
		store.err = errMark
		for n := range 40 {
			running.Go(func() {
				if err := m.mark(ctx, tunnel.ID{byte(n % 20)}); !errors.Is(err, errMark) {
					t.Errorf("mark %d: %v, want %v", n, err, errMark)
				}
			})
		}
		time.Sleep(time.Second) //nolint:forbidigo // fake time
		synctest.Wait()
		if n := len(store.calls); n > 3 { // one for the first of the 20 tunnels, and one for those that came during that call
			t.Errorf("%d calls, want at most 3: %v", n, store.calls)
		}
		if !slices.Equal(store.calls[0], []tunnel.ID{{1}}) {
			t.Errorf("the first call marks %v", store.calls[0])
		}
		cancel()
		running.Wait()
		if err := m.mark(ctx, tunnel.ID{1}); !errors.Is(err, context.Canceled) {
			t.Errorf("after the end: %v", err)
		}
	})
}
