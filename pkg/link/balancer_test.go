package link_test

import (
	"context"
	"errors"
	"io"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/link"
	"github.com/culvert-tunnel/culvert/pkg/link/linktest"
	"github.com/culvert-tunnel/culvert/pkg/testkit"
)

// exchange runs one flow and returns the response.
func exchange(t *testing.T, c link.Carrier, first string) (string, error) {
	t.Helper()
	v, e := linktest.NewVisitor()
	done := make(chan error, 1)
	go func() { done <- c.Carry(t.Context(), link.Flow{Stream: e, First: []byte(first), EOF: true}) }()
	type result struct {
		b   []byte
		err error
	}
	read := make(chan result, 1)
	go func() {
		b, err := io.ReadAll(v)
		read <- result{b, err}
	}()
	err := <-done
	if errors.Is(err, link.ErrNotAccepted) {
		e.CancelWrite(0) // a caller without a response of its own does this
	}
	r := <-read
	if err == nil && r.err != nil {
		t.Errorf("Carry = nil, but the response ended with %v", r.err)
	}
	return string(r.b), err
}

// name responds with its name.
func name(s string) link.Handler {
	return link.HandlerFunc(func(_ context.Context, _ link.Meta, st link.Stream) {
		_, _ = io.Copy(io.Discard, st) // the test sees a failure
		_ = st.Buffer([]byte(s))
		_ = st.CloseWrite()
	})
}

func TestConnectionsAreReused(t *testing.T) {
	for _, endpoint := range []string{unixEndpoint(t), "tcp:127.0.0.1:0"} {
		l := &countingListener{}
		c := balancer(t, nil, l.serve(t, endpoint, name("x")))
		for range 50 {
			if got, err := exchange(t, c, "q"); got != "x" || err != nil {
				t.Fatalf("response = %q, %v", got, err)
			}
		}
		if n := l.accepted.Load(); n != 1 {
			t.Errorf("%d connections for 50 flows in a row, want 1", n)
		}
		if st := c.Status(); st[0].Idle != 1 || st[0].InFlight != 0 || st[0].Breaker != "closed" {
			t.Errorf("status = %+v", st[0])
		}
	}
}

// countingListener counts connections, and can cut them all.
type countingListener struct {
	net.Listener
	accepted atomic.Int32
}

func (l *countingListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err == nil {
		l.accepted.Add(1)
	}
	return c, err
}

func (l *countingListener) serve(t *testing.T, endpoint string, h link.Handler) link.Endpoint {
	t.Helper()
	e, err := link.ParseEndpoint(endpoint)
	if err != nil {
		t.Fatal(err)
	}
	if l.Listener, err = e.Listen(nil); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- link.NewServer(link.ServerConfig{Handler: h}).Serve(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Serve = %v", err)
		}
	})
	return link.EndpointOf(l)
}

func TestNoProxy(t *testing.T) {
	c := balancer(t, nil)
	if _, err := exchange(t, c, "q"); !errors.Is(err, link.ErrNotAccepted) {
		t.Errorf("Carry = %v, want ErrNotAccepted", err)
	}
}

func TestUnreachableProxyIsSkipped(t *testing.T) {
	dead, err := link.ParseEndpoint(unixEndpoint(t))
	if err != nil {
		t.Fatal(err)
	}
	c := balancer(t, nil, dead, serve(t, unixEndpoint(t), nil, link.ServerConfig{Handler: name("alive")}))
	for range 50 {
		if got, err := exchange(t, c, "q"); got != "alive" || err != nil {
			t.Fatalf("response = %q, %v", got, err)
		}
	}
	if st := c.Status(); st[0].Breaker != "open" {
		t.Errorf("breaker of the dead proxy is %s, want open", st[0].Breaker)
	}
}

func TestAllUnreachable(t *testing.T) {
	dead, err := link.ParseEndpoint(unixEndpoint(t))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := exchange(t, balancer(t, nil, dead), "q"); !errors.Is(err, link.ErrNotAccepted) {
		t.Errorf("Carry = %v, want ErrNotAccepted", err)
	}
}

func TestSetProxiesLive(t *testing.T) {
	a := serve(t, unixEndpoint(t), nil, link.ServerConfig{Handler: name("a")})
	z := serve(t, unixEndpoint(t), nil, link.ServerConfig{Handler: name("z")})
	c := balancer(t, nil, a)
	if got, err := exchange(t, c, "q"); got != "a" || err != nil {
		t.Fatalf("response = %q, %v", got, err)
	}
	c.SetProxies([]link.Proxy{{ID: "z", Endpoint: z}})
	if got, err := exchange(t, c, "q"); got != "z" || err != nil {
		t.Fatalf("response = %q, %v", got, err)
	}
	c.SetProxies(nil)
	if _, err := exchange(t, c, "q"); !errors.Is(err, link.ErrNotAccepted) {
		t.Errorf("Carry = %v, want ErrNotAccepted", err)
	}
}

func TestLoadIsSpread(t *testing.T) {
	hold := make(chan struct{})
	var busy [2]atomic.Int32
	wait := func(i int) link.Handler {
		return link.HandlerFunc(func(_ context.Context, _ link.Meta, s link.Stream) {
			busy[i].Add(1)
			<-hold
			_ = s.CloseWrite() // the test sees a failure
		})
	}
	c := balancer(t, nil,
		serve(t, unixEndpoint(t), nil, link.ServerConfig{Handler: wait(0)}),
		serve(t, unixEndpoint(t), nil, link.ServerConfig{Handler: wait(1)}))
	done := make(chan error, 20)
	for i := range 20 {
		_, e := linktest.NewVisitor()
		go func() { done <- c.Carry(t.Context(), link.Flow{Stream: e, First: []byte("q"), EOF: true}) }()
		testkit.Eventually(t, "flow has not started", func() bool { return busy[0].Load()+busy[1].Load() == int32(i+1) })
	}
	if a, b := busy[0].Load(), busy[1].Load(); a != 10 || b != 10 {
		t.Errorf("flows in flight: %d and %d, want 10 each", a, b)
	}
	close(hold)
	for range 20 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

// TestDrain: a proxy that stops finishes its running flows, new flows go to the other proxy, no flow fails, and the drain
// ends long before its timeout.
func TestDrain(t *testing.T) {
	t.Parallel()
	server, client := certificates(t)
	for _, endpoint := range []string{"unix", "tls"} {
		t.Run(endpoint, func(t *testing.T) {
			addr, conf := unixEndpoint(t), server
			if endpoint == "tls" {
				addr = "tcp:127.0.0.1:0"
			} else {
				conf = nil
			}
			running, hold := make(chan struct{}), make(chan struct{})
			leaving := start(t, addr, conf, link.ServerConfig{
				DrainTimeout: time.Hour,
				Handler: link.HandlerFunc(func(ctx context.Context, m link.Meta, s link.Stream) {
					b, _ := io.ReadAll(s) // the test sees a failure
					if string(b) == "long" {
						close(running)
						<-hold
					}
					name("leaving").ServeStream(ctx, m, s)
				}),
			})
			c := balancer(t, client, leaving.endpoint)
			for range 3 {
				if got, err := exchange(t, c, "q"); got != "leaving" || err != nil {
					t.Fatalf("response = %q, %v", got, err)
				}
			}
			type result struct {
				s   string
				err error
			}
			long := make(chan result, 1)
			go func() {
				s, err := exchange(t, c, "long")
				long <- result{s, err}
			}()
			<-running
			c.SetProxies([]link.Proxy{
				{ID: "p", Endpoint: leaving.endpoint},
				{ID: "q", Endpoint: serve(t, unixEndpoint(t), nil, link.ServerConfig{Handler: name("staying")})},
			})
			leaving.stop()
			for range 200 {
				if _, err := exchange(t, c, "q"); err != nil {
					t.Fatalf("a flow failed during the drain: %v", err)
				}
			}
			close(hold)
			if r := <-long; r.s != "leaving" || r.err != nil {
				t.Errorf("the running flow gave %q, %v", r.s, r.err)
			}
			if err := <-leaving.done; err != nil {
				t.Errorf("Serve = %v", err)
			}
		})
	}
}

// TestDrainOfIdleConnections: a worker notices a drain on idle connections, without a flow.
func TestDrainOfIdleConnections(t *testing.T) {
	s := start(t, unixEndpoint(t), nil, link.ServerConfig{Handler: name("x"), DrainTimeout: time.Hour})
	c := balancer(t, nil, s.endpoint)
	if got, err := exchange(t, c, "q"); got != "x" || err != nil {
		t.Fatalf("response = %q, %v", got, err)
	}
	s.stop()
	if err := <-s.done; err != nil {
		t.Errorf("Serve = %v", err)
	}
	testkit.Eventually(t, "the worker has not noticed", func() bool { return c.Status()[0].Leaving || c.Status()[0].Idle == 0 })
	if st := c.Status()[0]; st.Breaker != "closed" || st.Idle != 0 {
		t.Errorf("status after GOAWAY = %+v, want no failure and no idle connection", st)
	}
}

func TestDrainTimeout(t *testing.T) {
	ended := make(chan error, 1)
	running := make(chan struct{})
	s := start(t, unixEndpoint(t), nil, link.ServerConfig{
		DrainTimeout: 10 * time.Millisecond,
		Handler: link.HandlerFunc(func(ctx context.Context, _ link.Meta, _ link.Stream) {
			close(running)
			<-ctx.Done()
			ended <- ctx.Err()
		}),
	})
	c := balancer(t, nil, s.endpoint)
	failed := make(chan error, 1)
	go func() {
		_, err := exchange(t, c, "q")
		failed <- err
	}()
	<-running
	s.stop()
	if err := <-s.done; err != nil {
		t.Errorf("Serve = %v", err)
	}
	<-ended
	if err := <-failed; !errors.Is(err, link.ErrReset) && !errors.Is(err, link.ErrLost) {
		t.Errorf("Carry = %v, want ErrReset or ErrLost", err)
	}
}

// TestRestartedProxy: no flow fails because of idle connections to the former process.
func TestRestartedProxy(t *testing.T) {
	endpoint := unixEndpoint(t)
	first := start(t, endpoint, nil, link.ServerConfig{Handler: name("first"), DrainTimeout: time.Nanosecond})
	c := balancer(t, nil, first.endpoint)
	if got, err := exchange(t, c, "q"); got != "first" || err != nil {
		t.Fatalf("response = %q, %v", got, err)
	}
	first.stop()
	if err := <-first.done; err != nil {
		t.Fatal(err)
	}
	serve(t, endpoint, nil, link.ServerConfig{Handler: name("second")})
	if got, err := exchange(t, c, "q"); got != "second" || err != nil {
		t.Errorf("response after the restart = %q, %v", got, err)
	}
}
