package backlog

import (
	"context"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/culvert-tunnel/culvert/pkg/testkit"
	"github.com/culvert-tunnel/culvert/services/edge/internal/backlog/evict"
)

func TestMain(m *testing.M) { testkit.VerifyMain(m) }

// conn is a connection with this receive window.
type conn evict.Window

func (c *conn) ReceiveWindow() evict.Window { return evict.Window(*c) }

func TestWatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		reg := prometheus.NewRegistry()
		w := New(reg)
		done := make(chan error, 1)
		go func() { done <- w.Run(ctx) }()
		crowded, other := &conn{Conn: 100, First: 10, Most: 40}, &conn{Conn: 1 << 30, First: 10, Most: 40}
		var aborted [12]atomic.Bool
		var responses []*Response
		for i := range aborted {
			c := crowded
			if i >= 8 {
				c = other
			}
			r := w.Begin(c, func() { aborted[i].Store(true) })
			r.WriteStarted()
			if i == 0 {
				r.WriteDone(0) // its visitor keeps up
			}
			responses = append(responses, r)
			time.Sleep(100 * time.Millisecond) //nolint:forbidigo // fake time
		}
		time.Sleep(time.Minute) //nolint:forbidigo // fake time
		var got []int
		for i := range aborted {
			if aborted[i].Load() {
				got = append(got, i)
			}
		}
		if want := []int{1, 2}; !slices.Equal(got, want) { // seven wait with 10 bytes each; five of them may
			t.Errorf("aborted %v, want %v", got, want)
		}
		for _, r := range responses {
			r.End()
		}
		if len(w.conns) > 0 {
			t.Errorf("%d connections are left", len(w.conns))
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func TestWithoutWatch(t *testing.T) {
	var w *Watch
	r := w.Begin(nil, func() { t.Error("aborted") })
	r.WriteStarted()
	r.WriteDone(1)
	r.End()
}
