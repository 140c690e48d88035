package dispatch_test

import (
	"errors"
	"io"
	"os"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/transport"
	"github.com/culvert-tunnel/culvert/pkg/transport/mem"
	"github.com/culvert-tunnel/culvert/services/edge/internal/dispatch"
	"github.com/culvert-tunnel/culvert/services/edge/internal/registry"
)

// leaver leaves a connection in doubt when another one is there.
type leaver struct {
	mu    sync.Mutex
	other bool
}

func (l *leaver) set(other bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.other = other
}

func (l *leaver) Leaves(*registry.Conn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.other
}

// exchange is a request that waits, and the connector's end of its stream.
type exchange struct {
	conn *registry.Conn
	far  transport.Stream
	leaver
}

func TestFirst(t *testing.T) {
	t.Parallel()
	write := func(text string) func(e *exchange) {
		return func(e *exchange) { _, _ = io.WriteString(e.far, text) } // the request may be over
	}
	doubt := func(e *exchange) { e.conn.Doubt() }
	trust := func(e *exchange) { e.conn.Trust() }
	other := func(e *exchange) { e.set(true) }
	type step struct {
		after time.Duration
		do    func(e *exchange)
	}
	for name, c := range map[string]struct {
		limit time.Duration
		steps []step
		want  string
		err   error
		took  time.Duration
	}{
		"at once":                   {time.Minute, []step{{0, write("now")}}, "now", nil, 0},
		"slow, and trusted":         {time.Minute, []step{{0, other}, {30 * time.Second, write("late")}}, "late", nil, 30 * time.Second},
		"no limit":                  {0, []step{{time.Hour, write("late")}}, "late", nil, time.Hour},
		"the limit":                 {time.Minute, nil, "", os.ErrDeadlineExceeded, time.Minute},
		"a short limit":             {time.Millisecond, nil, "", os.ErrDeadlineExceeded, time.Millisecond},
		"the limit while in doubt":  {time.Minute, []step{{0, doubt}}, "", os.ErrDeadlineExceeded, time.Minute},
		"in doubt, and another one": {time.Minute, []step{{0, other}, {10 * time.Second, doubt}}, "", dispatch.ErrDoubt, 10 * time.Second},
		"in doubt from the start":   {time.Minute, []step{{0, other}, {0, doubt}}, "", dispatch.ErrDoubt, 250 * time.Millisecond},
		"in doubt, a response":      {time.Minute, []step{{0, doubt}, {3 * time.Second, write("ok")}}, "ok", nil, 3 * time.Second},
		"another one comes": {
			time.Minute, []step{{time.Second, doubt}, {2100 * time.Millisecond, other}}, "", dispatch.ErrDoubt, 2250 * time.Millisecond,
		},
		"trusted before another comes": {
			time.Minute,
			[]step{{time.Second, doubt}, {1100 * time.Millisecond, trust}, {1900 * time.Millisecond, other}, {5 * time.Second, write("ok")}},
			"ok", nil, 5 * time.Second,
		},
		"doubt after the first bytes": {time.Minute, []step{{0, other}, {0, write("o")}, {0, doubt}}, "o", nil, 0},
		"doubted, trusted and doubted": {
			time.Minute,
			[]step{{time.Second, doubt}, {1100 * time.Millisecond, trust}, {1900 * time.Millisecond, other}, {2 * time.Second, doubt}},
			"", dispatch.ErrDoubt, 2 * time.Second,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				near, far := mem.Pair(t.Context())
				defer func() { _ = near.CloseWithError(0, "") }()
				st, err := near.OpenStream(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				if _, err := st.Write([]byte("request")); err != nil {
					t.Fatal(err)
				}
				e := &exchange{conn: registry.NewConn(registry.Info{}, near)}
				if e.far, err = far.AcceptStream(t.Context()); err != nil {
					t.Fatal(err)
				}
				for _, s := range c.steps {
					if s.after == 0 {
						s.do(e)
						continue
					}
					time.AfterFunc(s.after, func() { s.do(e) })
				}
				first := dispatch.First{Conn: e.conn, Stream: st, Leaver: &e.leaver}
				began := time.Now()
				if c.limit > 0 {
					first.Limit = began.Add(c.limit)
				}
				in, err := first.Wait(make([]byte, 100))
				if string(in.Bytes) != c.want || !errors.Is(err, c.err) || time.Since(began) != c.took {
					t.Errorf("%q, %v after %v; want %q, %v after %v", in.Bytes, err, time.Since(began), c.want, c.err, c.took)
				}
			})
		})
	}
}

// TestFirstReadsOn: the deadline of the first bytes does not bound what follows.
func TestFirstReadsOn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		near, far := mem.Pair(t.Context())
		defer func() { _ = near.CloseWithError(0, "") }()
		st, err := near.OpenStream(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if err := st.CloseWrite(); err != nil {
			t.Fatal(err)
		}
		peer, err := far.AcceptStream(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.WriteString(peer, "a") // a pair has room for it
		time.AfterFunc(10*time.Second, func() {
			_, _ = io.WriteString(peer, "b")
			_ = peer.CloseWrite()
		})
		conn := registry.NewConn(registry.Info{}, near)
		first := dispatch.First{Conn: conn, Stream: st, Leaver: new(leaver), Limit: time.Now().Add(time.Minute)}
		in, err := first.Wait(make([]byte, 100))
		if string(in.Bytes) != "a" || err != nil {
			t.Fatalf("Wait = %q, %v", in.Bytes, err)
		}
		rest, err := io.ReadAll(&first)
		if string(rest) != "b" || err != nil {
			t.Errorf("the rest is %q, %v", rest, err)
		}
	})
}
