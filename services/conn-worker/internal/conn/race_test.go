package conn

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/transport"
	"github.com/culvert-tunnel/culvert/pkg/transport/mem"
)

// TestRace: which of two dials counts, and when.
func TestRace(t *testing.T) {
	const ms, s, never = time.Millisecond, time.Second, time.Hour
	refused := errors.New("refused")
	type dial struct {
		takes time.Duration
		err   error
	}
	for name, c := range map[string]struct {
		first, second dial
		overtaken     bool
		err           error
		after         time.Duration
		held          time.Duration // how long the second dial is held
	}{
		"the first is quick":                         {dial{s, nil}, dial{}, false, nil, s, 0},
		"the first fails soon":                       {dial{s, refused}, dial{}, false, refused, s, 0},
		"the first is slow, and the second too":      {dial{3 * s, nil}, dial{2 * s, nil}, false, nil, 3 * s, 0},
		"the second comes, the first right after it": {dial{3300 * ms, nil}, dial{s, nil}, false, nil, 3300 * ms, 0},
		"the first never comes":                      {dial{never, nil}, dial{s, nil}, true, nil, 3500 * ms, 0},
		"the first fails after the second came":      {dial{3200 * ms, refused}, dial{s, nil}, true, nil, 3200 * ms, 0},
		"the first fails before the second comes":    {dial{3 * s, refused}, dial{2 * s, nil}, true, nil, 4 * s, 0},
		"the second fails, the first comes":          {dial{5 * s, nil}, dial{s, refused}, false, nil, 5 * s, 0},
		"both fail":                                  {dial{5 * s, refused}, dial{s, errors.New("other")}, false, refused, 5 * s, 0},
		"the first fails, then the second":           {dial{3 * s, refused}, dial{5 * s, errors.New("other")}, false, refused, 7 * s, 0},
		"the second is held for a while":             {dial{never, nil}, dial{s, nil}, true, nil, 4750 * ms, 3100 * ms},
		"the second is held until the first fails":   {dial{5 * s, refused}, dial{s, nil}, false, refused, 5 * s, never},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var (
					mu   sync.Mutex // the two dials add their sessions
					open []transport.Session
				)
				opens := func(d dial) opener {
					return func(ctx context.Context) (transport.Session, error) {
						select {
						case <-ctx.Done():
							return nil, ctx.Err()
						case <-time.After(d.takes):
						}
						if d.err != nil {
							return nil, d.err
						}
						near, far := mem.Pair(t.Context())
						mu.Lock()
						defer mu.Unlock()
						open = append(open, near, far)
						return near, nil
					}
				}
				began := time.Now()
				got, overtaken, err := race(t.Context(), delay{2 * s, func() bool { return time.Since(began) < c.held }},
					opens(c.first), opens(c.second))
				if overtaken != c.overtaken || !errors.Is(err, c.err) || time.Since(began) != c.after {
					t.Errorf("overtaken %v, %v after %v, want %v, %v after %v", overtaken, err, time.Since(began), c.overtaken, c.err, c.after)
				}
				left := 0
				for i := 0; i < len(open); i += 2 {
					if open[i].Context().Err() == nil {
						left++
					}
				}
				if want := map[bool]int{true: 1, false: 0}[c.err == nil]; left != want || (got != nil) != (c.err == nil) {
					t.Errorf("%d sessions are open, want %d", left, want)
				}
				for _, o := range open {
					_ = o.CloseWithError(transport.NoError, "")
				}
			})
		})
	}
}
