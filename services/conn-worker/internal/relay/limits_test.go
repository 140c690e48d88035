package relay

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/link"
	"github.com/culvert-tunnel/culvert/pkg/testkit"
	"github.com/culvert-tunnel/culvert/pkg/transport"
	"github.com/culvert-tunnel/culvert/pkg/transport/mem"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
	"github.com/culvert-tunnel/culvert/pkg/wire/stream"
	"github.com/culvert-tunnel/culvert/services/conn-worker/internal/udp"
)

// tally counts outcomes and never waits.
type tally struct{ of map[Outcome]*atomic.Int64 }

func newTally() *tally {
	t := &tally{of: map[Outcome]*atomic.Int64{}}
	for _, o := range Outcomes() {
		t.of[o] = new(atomic.Int64)
	}
	return t
}

func (*tally) StreamOpened()                                      {}
func (t *tally) StreamEnded(o Outcome)                            { t.of[o].Add(1) }
func (*tally) Served(Method, time.Duration, error)                {}
func (*tally) DatagramReceived()                                  {}
func (*tally) DatagramSent()                                      {}
func (*tally) SessionsChanged(tunnel.ConnIndex, udp.Version, int) {}
func (*tally) SessionRegistered(tunnel.ConnIndex, udp.Version)    {}
func (*tally) Told(time.Duration, error)                          {}
func (*tally) DatagramDropped(udp.Reason)                         {}

// limited is a relay with limits; serve gives the edge's end of a new session of it.
func limited(t *testing.T, limits Limits, carrier carrierFunc) (serve func() (transport.Session, *Session), o *tally) {
	t.Helper()
	o = newTally()
	logger := slog.New(slog.DiscardHandler)
	r := New(Config{
		Carrier: carrier, Applier: Unsupported{}, Observer: o, Logger: logger, RPCTimeout: 5 * time.Second, Limits: limits,
		Datagrams: datagrams(udp.Config{Carrier: carrier, Observer: o, Logger: logger, RPCTimeout: 5 * time.Second}),
	})
	return func() (transport.Session, *Session) {
		edge, connector := mem.Pair(t.Context())
		s := r.Session(connector, link.Meta{}, Options{})
		done := make(chan struct{})
		go func() {
			defer close(done)
			_ = s.Serve()
		}()
		t.Cleanup(func() {
			_ = edge.CloseWithError(0, "over")
			<-done
		})
		return edge, s
	}, o
}

func TestSlowSignatureIsGivenUp(t *testing.T) {
	for name, part := range map[string]string{"one byte": "\x0a", "half": "\x0a\x36\xcd"} {
		t.Run(name, func(t *testing.T) {
			serve, o := limited(t, Limits{HeadTimeout: 20 * time.Millisecond}, nil)
			edge, s := serve()
			st := open(t, edge, part)
			if _, err := io.ReadAll(st); err == nil {
				t.Error("the stream ended in order, want a reset")
			}
			testkit.Eventually(t, "nothing in flight", func() bool { return s.InFlight() == 0 })
			if o.of[Unknown].Load() != 1 {
				t.Error("no stream of unknown kind was counted")
			}
		})
	}
}

// responseOf reads a response that a relay gives by itself.
func responseOf(t *testing.T, st transport.Stream) stream.Response {
	t.Helper()
	b, err := io.ReadAll(st)
	if err != nil {
		t.Fatalf("response: %v", err)
	}
	var r stream.Response
	if _, err := stream.ParseResponse(b, &r); err != nil {
		t.Fatalf("response: %v", err)
	}
	return r
}

func TestStreamsAreBounded(t *testing.T) {
	hold := make(chan struct{})
	release := sync.OnceFunc(func() { close(hold) })
	serve, o := limited(t, Limits{Streams: 3, PerSession: 2}, func(_ context.Context, f link.Flow) error {
		<-hold
		return f.Stream.CloseWrite()
	})
	edgeA, a := serve()
	edgeB, b := serve()
	t.Cleanup(release) // before the sessions' own, which wait for their streams
	for range 2 {
		open(t, edgeA, request(t))
	}
	testkit.Eventually(t, "two streams run", func() bool { return a.InFlight() == 2 })
	refused := func(edge transport.Session) {
		t.Helper()
		st := open(t, edge)
		_, _ = st.Write([]byte(request(t))) // fails when the response is quicker
		r := responseOf(t, st)
		if status, _ := stream.Lookup(r.Metadata, stream.KeyStatus); r.Error != tooMany || status != "503" {
			t.Errorf("response %+v, want a refusal with 503", r)
		}
	}
	refused(edgeA) // by the limit of the session
	open(t, edgeB, request(t))
	testkit.Eventually(t, "three streams run", func() bool { return b.InFlight() == 1 })
	refused(edgeB) // by the limit of all
	testkit.Eventually(t, "refusals are counted", func() bool { return o.of[Refused].Load() == 2 })
	release()
	testkit.Eventually(t, "all ended", func() bool { return a.InFlight()+b.InFlight() == 0 })
	if _, err := io.ReadAll(open(t, edgeA, request(t))); err != nil {
		t.Errorf("a stream after the others ended: %v", err)
	}
}

func TestSlowReaderIsReset(t *testing.T) {
	ended := make(chan error, 1)
	serve, _ := limited(t, Limits{WriteTimeout: 20 * time.Millisecond}, func(_ context.Context, f link.Flow) error {
		block := make([]byte, 16<<10)
		for {
			if _, err := f.Stream.Write(block); err != nil {
				ended <- err
				return err
			}
		}
	})
	edge, s := serve()
	st := open(t, edge, request(t)) // and nobody reads
	if err := <-ended; err == nil {
		t.Error("writes went on")
	}
	if _, err := io.ReadAll(st); err == nil || errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("the reader saw %v, want a reset", err)
	}
	testkit.Eventually(t, "nothing in flight", func() bool { return s.InFlight() == 0 })
}

// TestFloodLeavesNothingBehind opens far more streams than are allowed, most of them broken, and looks at what is left.
func TestFloodLeavesNothingBehind(t *testing.T) {
	const streams = 4000
	serve, o := limited(t, Limits{HeadTimeout: time.Minute, Streams: 50, PerSession: 50}, func(_ context.Context, f link.Flow) error {
		_, err := io.Copy(io.Discard, f.Stream)
		return err
	})
	edge, s := serve()
	runtime.GC()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	goroutines := runtime.NumGoroutine()
	peak := 0
	for i := range streams {
		st, err := edge.OpenStream(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		switch i % 4 {
		case 0:
			_, _ = st.Write([]byte("GET / HTTP/1.1\r\n"))
		case 1:
			_, _ = st.Write([]byte(request(t))[:3])
		case 2:
			_, _ = st.Write([]byte(request(t)))
		}
		if i%8 < 4 {
			st.CancelWrite(0)
			st.CancelRead(0)
		} else {
			defer st.CancelWrite(0)
		}
		peak = max(peak, runtime.NumGoroutine())
	}
	// A goroutine gives its place back a moment before it has ended, so that there may be twice as many refusals.
	if limit := goroutines + 50 + 2*refusals; peak > limit {
		t.Errorf("%d goroutines, want at most %d", peak, limit)
	}
	_ = edge.CloseWithError(0, "over")
	testkit.Eventually(t, "nothing in flight", func() bool { return s.InFlight() == 0 })
	testkit.Eventually(t, "goroutines end", func() bool { return runtime.NumGoroutine() <= goroutines })
	testkit.Eventually(t, "memory is free", func() bool {
		runtime.GC()
		runtime.ReadMemStats(&after)
		return after.HeapInuse < before.HeapInuse+16<<20
	})

	total := int64(0)
	for _, n := range o.of {
		total += n.Load()
	}
	if total < streams/2 {
		t.Errorf("%d streams counted of %d", total, streams)
	}
	t.Logf("%d streams, %d refused: goroutines %d before, %d at most, %d after; heap %d KiB before, %d KiB after", streams,
		o.of[Refused].Load(), goroutines, peak, runtime.NumGoroutine(), before.HeapInuse>>10, after.HeapInuse>>10)
}
