package docker

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/culvert-tunnel/culvert/services/proxy/internal/discovered"
	"github.com/culvert-tunnel/culvert/services/proxy/internal/docker/label"
)

// fake is an engine in memory.
type fake struct {
	mu         sync.Mutex
	containers []label.Container
	lists      int
	down       error
	silent     bool // the stream of events never says that it stands
	changed    func()
	cut        chan error // ends the stream
}

func (f *fake) close() {}

func (f *fake) list(context.Context) ([]label.Container, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.lists++
	return append([]label.Container(nil), f.containers...), f.down
}

func (f *fake) watch(ctx context.Context, opened, changed func()) error {
	f.mu.Lock()
	down, silent := f.down, f.silent
	if down == nil {
		f.changed = changed
	}
	f.mu.Unlock()
	if down != nil {
		return down
	}
	if !silent {
		opened()
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case err := <-f.cut:
		return err
	}
}

// set replaces the containers, and tells it by so many events.
func (f *fake) set(events int, names ...string) {
	f.mu.Lock()
	f.containers = nil
	for _, name := range names {
		f.containers = append(f.containers, label.Container{
			ID: name, Name: name, State: label.Serving, Mode: "host",
			Labels: map[string]string{"culvert.hostname": name + ".example.com", "culvert.port": "80"},
		})
	}
	changed := f.changed
	f.mu.Unlock()
	for range events {
		changed()
	}
}

func (f *fake) listed() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.lists
}

// following runs a provider within a bubble, until the test ends.
type following struct {
	*fake
	log  bytes.Buffer
	stop func()

	mu  sync.Mutex
	got string
}

func follow(t *testing.T, f *fake) *following {
	t.Helper()
	w := &following{fake: f}
	f.cut = make(chan error)
	p := newProvider(f, Default(), slog.New(slog.NewTextHandler(&w.log, nil)))
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		p.Run(ctx, func(routes []discovered.Route) {
			var names []string
			for _, r := range routes {
				names = append(names, strings.TrimPrefix(r.From, "container "))
			}
			w.mu.Lock()
			defer w.mu.Unlock()
			w.got = strings.Join(names, " ")
		})
	}()
	w.stop = func() { cancel(); <-done }
	return w
}

// expect waits for so long, and compares what was passed on.
func (w *following) expect(t *testing.T, within time.Duration, want string) {
	t.Helper()
	time.Sleep(within) //nolint:forbidigo // fake time
	synctest.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.got != want {
		t.Errorf("routes of %q, want %q", w.got, want)
	}
}

func TestFollow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{}
		w := follow(t, f)
		defer w.stop()
		w.expect(t, 100*time.Millisecond, "")
		f.set(1, "a")
		w.expect(t, 100*time.Millisecond, "a")
		f.set(1, "a", "b")
		w.expect(t, 100*time.Millisecond, "a b")
		f.set(1)
		w.expect(t, 100*time.Millisecond, "")
		f.set(0, "c") // an event that got lost
		w.expect(t, listEvery, "c")
	})
}

// TestListBehindEvents: an engine may send the event before its list has the change.
func TestListBehindEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{}
		w := follow(t, f)
		defer w.stop()
		w.expect(t, time.Second, "")
		f.changed()
		w.expect(t, quiet, "")
		f.set(0, "a")
		w.expect(t, again, "a")
	})
}

// TestStorm: many events make few lists, and do not put a list off for ever.
func TestStorm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{}
		w := follow(t, f)
		defer w.stop()
		w.expect(t, time.Second/2, "")
		before := f.listed()
		for range 100 {
			f.set(5, "a")
			time.Sleep(10 * time.Millisecond) //nolint:forbidigo // fake time
		}
		w.expect(t, 0, "a")
		if n := f.listed() - before; n < 2 || n > 6 {
			t.Errorf("%d lists in a second of events, want 2 to 6", n)
		}
	})
}

// TestReconnect: while the engine is away the routes stay, and what changed meanwhile is seen as soon as it is back.
func TestReconnect(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{}
		f.set(0, "a")
		w := follow(t, f)
		defer w.stop()
		w.expect(t, 100*time.Millisecond, "a")
		f.mu.Lock()
		f.down = errors.New("connection refused")
		f.mu.Unlock()
		f.cut <- errors.New("connection reset")
		w.expect(t, time.Minute, "a")
		f.set(0, "b")
		f.mu.Lock()
		f.down = nil
		f.mu.Unlock()
		w.expect(t, 17*time.Second, "b")
		log := w.log.String()
		if strings.Count(log, "containers not read") != 1 || strings.Count(log, "containers read again") != 1 {
			t.Errorf("log:\n%s", log)
		}
	})
}

// TestSilentStream: some engines send the head of the stream only with the first event.
func TestSilentStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{silent: true}
		f.set(0, "a")
		w := follow(t, f)
		defer w.stop()
		w.expect(t, openWithin, "a")
		f.set(1, "b")
		w.expect(t, 100*time.Millisecond, "b")
	})
}

// TestProblemsOnce: a mistake is logged once, with the names of the container and the label, and again when it came back.
func TestProblemsOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{}
		w := follow(t, f)
		defer w.stop()
		w.expect(t, 100*time.Millisecond, "")
		f.set(1, "a", "bad")
		f.mu.Lock()
		f.containers[1].Labels["culvert.port"] = "x"
		f.mu.Unlock()
		w.expect(t, 100*time.Millisecond, "a")
		f.changed()
		w.expect(t, 100*time.Millisecond, "a")
		const line = `msg="label of a container not used" name=bad key=culvert.port reason="\"x\" is no port"`
		if n := strings.Count(w.log.String(), line); n != 1 {
			t.Errorf("logged %d times, want once:\n%s", n, w.log.String())
		}
	})
}
