package backlog

import (
	"context"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"github.com/culvert-tunnel/culvert/pkg/tunnel"
	"github.com/culvert-tunnel/culvert/services/edge/internal/registry"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestChoose(t *testing.T) {
	const ms = time.Millisecond
	w := Window{Conn: 100, First: 10, Most: 40}
	for name, c := range map[string]struct {
		all  []claim
		want []time.Duration // how long those that are cut have waited
	}{
		"nobody waits":                  {nil, nil},
		"half may be taken":             {[]claim{{nil, time.Hour, 25}, {nil, time.Hour, 25}}, nil},
		"the one that waited longest":   {[]claim{{nil, 3 * time.Second, 30}, {nil, time.Minute, 30}}, []time.Duration{time.Minute}},
		"as many as needed":             {[]claim{{nil, 3 * time.Second, 20}, {nil, 4 * time.Second, 20}, {nil, 5 * time.Second, 20}, {nil, 6 * time.Second, 20}}, []time.Duration{6 * time.Second, 5 * time.Second}},
		"a pause is allowed":            {[]claim{{nil, 1900 * ms, 30}, {nil, 300 * ms, 30}}, nil},
		"but not at three quarters":     {[]claim{{nil, 300 * ms, 40}, {nil, 400 * ms, 40}}, []time.Duration{400 * ms}},
		"a write that just began":       {[]claim{{nil, ms, 40}, {nil, ms, 40}, {nil, ms, 40}}, nil},
		"counts not, nor is it cut":     {[]claim{{nil, ms, 40}, {nil, ms, 40}, {nil, time.Minute, 40}}, nil},
		"all that have waited, if need": {[]claim{{nil, time.Second, 90}, {nil, time.Second, 90}}, []time.Duration{time.Second, time.Second}},
	} {
		t.Run(name, func(t *testing.T) {
			var got []time.Duration
			for _, c := range choose(w, c.all) {
				got = append(got, c.waited)
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("cut those that waited %v, want %v", got, c.want)
			}
		})
	}
}

func TestHeld(t *testing.T) {
	w := Window{Conn: 1000, First: 10, Most: 100}
	for took, want := range map[int64]int64{0: 10, 1: 14, 20: 90, 23: 100, 1 << 40: 100} {
		if got := held(w, took); got != want {
			t.Errorf("after %d bytes %d, want %d", took, got, want)
		}
	}
}

func TestWatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		reg := prometheus.NewRegistry()
		w := New(func(p tunnel.Protocol) Window {
			if p == tunnel.HTTP2 {
				return Window{Conn: 1 << 30, First: 10, Most: 40}
			}
			return Window{Conn: 100, First: 10, Most: 40}
		}, reg)
		done := make(chan error, 1)
		go func() { done <- w.Run(ctx) }()
		crowded, other := registry.NewConn(registry.Info{Protocol: tunnel.QUIC}, nil), registry.NewConn(registry.Info{Protocol: tunnel.HTTP2}, nil)
		var cut [12]atomic.Bool
		var answers []*Answer
		for i := range cut {
			conn := crowded
			if i >= 8 {
				conn = other
			}
			a := w.Begin(conn, func() { cut[i].Store(true) })
			a.Waits()
			if i == 0 {
				a.Took(0) // it keeps up
			}
			answers = append(answers, a)
			time.Sleep(100 * time.Millisecond) //nolint:forbidigo // fake time
		}
		time.Sleep(time.Minute) //nolint:forbidigo // fake time
		var got []int
		for i := range cut {
			if cut[i].Load() {
				got = append(got, i)
			}
		}
		if want := []int{1, 2}; !slices.Equal(got, want) { // seven wait with 10 each; five of them may
			t.Errorf("cut %v, want %v", got, want)
		}
		for _, a := range answers {
			a.End()
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
	a := w.Begin(nil, func() { t.Error("cut") })
	a.Waits()
	a.Took(1)
	a.End()
}
