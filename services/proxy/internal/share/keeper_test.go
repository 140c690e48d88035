package share_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/culvert-tunnel/culvert/pkg/quota"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
	"github.com/culvert-tunnel/culvert/services/proxy/internal/limit"
	"github.com/culvert-tunnel/culvert/services/proxy/internal/share"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var one = tunnel.ID{1}

var errAway = errors.New("away")

// tableStore is a store that follows the rule.
type tableStore struct {
	began time.Time
	mu    sync.Mutex
	table quota.Table
	away  map[string]bool // the processes that do not reach it
	asks  int

	watchers []chan struct{}
}

func (s *tableStore) RenewQuota(_ context.Context, _ tunnel.ID, a quota.Ask) (quota.Answer, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.away[a.Process] {
		return quota.Answer{}, errAway
	}
	s.asks++
	return s.table.Renew(time.Since(s.began), a), nil
}

func (s *tableStore) LeaveQuota(_ context.Context, _ tunnel.ID, process string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.away[process] {
		return errAway
	}
	s.table.Leave(process)
	return nil
}

func (s *tableStore) cut(process string, away bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.away[process] = away
}

func (s *tableStore) Hint(context.Context, string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, w := range s.watchers {
		select {
		case w <- struct{}{}:
		default:
		}
	}
	return nil
}

func (s *tableStore) Watch(context.Context, ...string) <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	w := make(chan struct{}, 1)
	s.watchers = append(s.watchers, w)
	return w
}

// proxies are several proxies with one limit.
type proxies struct {
	store *tableStore
	flows []*limit.Flows
	slots [][]*limit.Slot
	log   bytes.Buffer
}

// start runs n proxies with a limit of most until the test's function returns.
func start(t *testing.T, n int, most uint64) (p *proxies, stop func()) {
	t.Helper()
	p = &proxies{store: &tableStore{began: time.Now(), away: map[string]bool{}}, slots: make([][]*limit.Slot, n)}
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	log := slog.New(slog.NewTextHandler(&p.log, nil))
	for i := range n {
		f := limit.New(func(tunnel.ID) uint64 { return most }, nil)
		p.flows = append(p.flows, f)
		k := share.New(p.store, fmt.Sprint("p", i), f, log, nil)
		wg.Go(func() { k.Run(ctx) })
	}
	return p, func() { cancel(); wg.Wait() }
}

// take opens as many flows as a proxy lets, at most n, and gives how many it has then.
func (p *proxies) take(i, n int) int {
	for range n {
		s, err := p.flows[i].Acquire(one, limit.TCP)
		if err != nil {
			break
		}
		p.slots[i] = append(p.slots[i], s)
	}
	return len(p.slots[i])
}

// fill lets a proxy take flows for a while, and gives how many it has then.
func (p *proxies) fill(i, n int, d time.Duration) int {
	for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(50 * time.Millisecond) { //nolint:forbidigo // fake time
		p.take(i, n-len(p.slots[i]))
	}
	return len(p.slots[i])
}

func (p *proxies) free(i int) {
	for _, s := range p.slots[i] {
		s.Release()
	}
	p.slots[i] = nil
}

// TestOneProxyHasTheWholeLimit within seconds of its first flow.
func TestOneProxyHasTheWholeLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, stop := start(t, 1, 100)
		defer stop()
		if n := p.take(0, 200); n != 10 {
			t.Errorf("%d flows before the store was asked, want a tenth", n)
		}
		if n := p.fill(0, 200, quota.Settle+time.Second); n != 100 {
			t.Errorf("%d flows, want all 100", n)
		}
	})
}

// TestProxiesShareALimit: what one does not need, another gets; what both need is divided; together they have the limit and no more.
func TestProxiesShareALimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, stop := start(t, 3, 90)
		defer stop()
		a, b := p.fill(0, 70, 5*time.Second), p.fill(1, 10, 5*time.Second)
		if a != 70 || b != 10 {
			t.Errorf("flows %d and %d, want 70 and 10", a, b)
		}
		if c := p.fill(2, 50, 5*time.Second); a+b+c > 90+9 || c < 8 {
			t.Errorf("the third has %d beside %d and %d", c, a, b)
		}
		p.free(0)
		for range 60 {
			p.take(2, 100-len(p.slots[2]))
			if n := len(p.slots[1]) + len(p.slots[2]); n > 90 {
				t.Fatalf("%d flows of 90", n)
			}
			time.Sleep(100 * time.Millisecond) //nolint:forbidigo // fake time
		}
		c := len(p.slots[2])
		if a = p.fill(0, 100, 5*time.Second); a == 0 || b+c < 86 || a+b+c > 90 {
			t.Errorf("flows %d, %d and %d of 90, want what the first gave back to be in use, and it not to have nothing", a, b, c)
		}
	})
}

// TestStoreAway: the last share stays, and is neither unlimited nor zero.
func TestStoreAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, stop := start(t, 2, 100)
		defer stop()
		p.fill(0, 10, 5*time.Second)
		p.fill(1, 10, 5*time.Second)
		p.store.cut("p0", true)
		p.store.cut("p1", true)
		time.Sleep(time.Hour) //nolint:forbidigo // fake time
		if a, b := p.take(0, 200), p.take(1, 200); a+b > 100 || a < 20 || b < 20 {
			t.Errorf("flows %d and %d after an hour without the store", a, b)
		}
		p.store.cut("p0", false)
		p.store.cut("p1", false)
		time.Sleep(10 * quota.Lease) //nolint:forbidigo // fake time
		synctest.Wait()
		if n := strings.Count(p.log.String(), "not renewed"); n != 2 {
			t.Errorf("%d lines about the store, want one of each proxy:\n%s", n, p.log.String())
		}
	})
}

// TestCutOff: of a proxy that does not reach the store the others get what it does not use, after twice the lease, so that all have at most
// the limit and its last share.
func TestCutOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, stop := start(t, 2, 100)
		defer stop()
		p.fill(0, 40, 5*time.Second)
		p.fill(1, 10, 5*time.Second)
		p.store.cut("p0", true)
		if n := p.fill(1, 200, quota.StaleAfter-quota.RenewEvery); n > 60 {
			t.Errorf("the other one has %d flows before the share has run out", n)
		}
		if n := p.fill(1, 200, 2*quota.RenewEvery); n != 60 {
			t.Errorf("the other one has %d flows, want all that are not in use", n)
		}
		last := p.take(0, 200)
		if last > 90 {
			t.Errorf("the one that is cut off has %d flows, more than its last share", last)
		}
		p.store.cut("p0", false)
		p.free(0)
		if n := p.fill(1, 200, quota.GoneAfter); n > 100 {
			t.Errorf("the other one has %d flows", n)
		}
	})
}

// TestSharesAreGivenBack when no flow runs for a while, and at the end.
func TestSharesAreGivenBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, stop := start(t, 2, 100)
		p.fill(0, 80, 5*time.Second)
		p.free(0)
		time.Sleep(3 * time.Minute) //nolint:forbidigo // fake time
		p.store.mu.Lock()
		asks := p.store.asks
		p.store.mu.Unlock()
		time.Sleep(time.Hour) //nolint:forbidigo // fake time
		p.store.mu.Lock()
		if n := p.store.asks - asks; n != 0 {
			t.Errorf("%d renewals for a tunnel without flows", n)
		}
		p.store.mu.Unlock()
		p.fill(0, 80, 5*time.Second)
		p.free(0)
		p.fill(1, 1, time.Second)
		stop()
		if a := p.store.table.Renew(time.Since(p.store.began), quota.Ask{Process: "x", Seq: 1, Limit: 100, Held: 1, Want: 100}); a.Processes > 2 {
			t.Errorf("after the end: %+v", a)
		}
	})
}
