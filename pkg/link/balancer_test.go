package link_test

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/link"
	"github.com/culvert-tunnel/culvert/pkg/link/frame"
	"github.com/culvert-tunnel/culvert/pkg/link/linktest"
)

const patience = 20 * time.Second

func eventually(t *testing.T, cond func() bool, complaint string) {
	t.Helper()
	timeout, tick := time.NewTimer(patience), time.NewTicker(time.Millisecond)
	defer timeout.Stop()
	defer tick.Stop()
	for !cond() {
		select {
		case <-timeout.C:
			t.Fatal(complaint)
		case <-tick.C:
		}
	}
}

// ask runs one flow and gives the answer.
func ask(t *testing.T, c link.Carrier, first string) (string, error) {
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
		e.CancelWrite(0) // the caller's own answer, here none
	}
	r := <-read
	if err == nil && r.err != nil {
		t.Errorf("Carry = nil, but the answer ended with %v", r.err)
	}
	return string(r.b), err
}

// name answers with its own name.
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
			if got, err := ask(t, c, "q"); got != "x" || err != nil {
				t.Fatalf("answer = %q, %v", got, err)
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
	if _, err := ask(t, c, "q"); !errors.Is(err, link.ErrNotAccepted) {
		t.Errorf("Carry = %v, want ErrNotAccepted", err)
	}
}

func TestUnreachableProxyIsPassedOver(t *testing.T) {
	dead, err := link.ParseEndpoint(unixEndpoint(t))
	if err != nil {
		t.Fatal(err)
	}
	c := balancer(t, nil, dead, serve(t, unixEndpoint(t), nil, link.ServerConfig{Handler: name("alive")}))
	for range 50 {
		if got, err := ask(t, c, "q"); got != "alive" || err != nil {
			t.Fatalf("answer = %q, %v", got, err)
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
	if _, err := ask(t, balancer(t, nil, dead), "q"); !errors.Is(err, link.ErrNotAccepted) {
		t.Errorf("Carry = %v, want ErrNotAccepted", err)
	}
}

func TestSetProxiesLive(t *testing.T) {
	a := serve(t, unixEndpoint(t), nil, link.ServerConfig{Handler: name("a")})
	z := serve(t, unixEndpoint(t), nil, link.ServerConfig{Handler: name("z")})
	c := balancer(t, nil, a)
	if got, err := ask(t, c, "q"); got != "a" || err != nil {
		t.Fatalf("answer = %q, %v", got, err)
	}
	c.SetProxies([]link.Proxy{{ID: "z", Endpoint: z}})
	if got, err := ask(t, c, "q"); got != "z" || err != nil {
		t.Fatalf("answer = %q, %v", got, err)
	}
	c.SetProxies(nil)
	if _, err := ask(t, c, "q"); !errors.Is(err, link.ErrNotAccepted) {
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
		eventually(t, func() bool { return busy[0].Load()+busy[1].Load() == int32(i+1) }, "flow has not started")
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

// TestDrain: a proxy that goes away finishes what runs, new flows go to the other one, nothing fails, and it is gone
// long before its bound.
func TestDrain(t *testing.T) {
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
				if got, err := ask(t, c, "q"); got != "leaving" || err != nil {
					t.Fatalf("answer = %q, %v", got, err)
				}
			}
			type result struct {
				s   string
				err error
			}
			long := make(chan result, 1)
			go func() {
				s, err := ask(t, c, "long")
				long <- result{s, err}
			}()
			<-running
			c.SetProxies([]link.Proxy{
				{ID: "p", Endpoint: leaving.endpoint},
				{ID: "q", Endpoint: serve(t, unixEndpoint(t), nil, link.ServerConfig{Handler: name("staying")})},
			})
			leaving.stop()
			for range 200 {
				if _, err := ask(t, c, "q"); err != nil {
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

// TestDrainOfIdleConnections needs no flow to tell the worker.
func TestDrainOfIdleConnections(t *testing.T) {
	s := start(t, unixEndpoint(t), nil, link.ServerConfig{Handler: name("x"), DrainTimeout: time.Hour})
	c := balancer(t, nil, s.endpoint)
	if got, err := ask(t, c, "q"); got != "x" || err != nil {
		t.Fatalf("answer = %q, %v", got, err)
	}
	s.stop()
	if err := <-s.done; err != nil {
		t.Errorf("Serve = %v", err)
	}
	eventually(t, func() bool { return c.Status()[0].Leaving || c.Status()[0].Idle == 0 }, "the worker has not noticed")
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
		_, err := ask(t, c, "q")
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

// TestRestartedProxy: idle connections of the former process cost no flow.
func TestRestartedProxy(t *testing.T) {
	endpoint := unixEndpoint(t)
	first := start(t, endpoint, nil, link.ServerConfig{Handler: name("first"), DrainTimeout: time.Nanosecond})
	c := balancer(t, nil, first.endpoint)
	if got, err := ask(t, c, "q"); got != "first" || err != nil {
		t.Fatalf("answer = %q, %v", got, err)
	}
	first.stop()
	if err := <-first.done; err != nil {
		t.Fatal(err)
	}
	serve(t, endpoint, nil, link.ServerConfig{Handler: name("second")})
	if got, err := ask(t, c, "q"); got != "second" || err != nil {
		t.Errorf("answer after the restart = %q, %v", got, err)
	}
}

// fakeProxy speaks frames by hand: script gets the connection after HELLO, and the first frames of the flow.
func fakeProxy(t *testing.T, script func(c net.Conn, id uint32)) link.Endpoint {
	t.Helper()
	e, err := link.ParseEndpoint(unixEndpoint(t))
	if err != nil {
		t.Fatal(err)
	}
	l, err := e.Listen(nil)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = c.Write(frame.AppendHello(nil, frame.HelloInfo{Version: frame.Version})) // the test sees a failure
			buf := make([]byte, 1024)
			if n, _ := c.Read(buf); n > 0 {
				script(c, 1)
			}
			_ = c.Close()
		}
	}()
	t.Cleanup(func() {
		_ = l.Close()
		<-done
	})
	return link.EndpointOf(l)
}

// TestTruncatedAnswer: a proxy that dies in the middle is an error, whatever it had sent, and never a short answer.
func TestTruncatedAnswer(t *testing.T) {
	tests := map[string]func(c net.Conn, id uint32){
		"nothing":             func(net.Conn, uint32) {},
		"half a header":       func(c net.Conn, _ uint32) { _, _ = c.Write([]byte{2, 0, 0}) },
		"a frame without FIN": func(c net.Conn, id uint32) { _, _ = c.Write(frame.AppendData(nil, id, []byte("half"), false)) },
		"half a frame": func(c net.Conn, id uint32) {
			b := frame.AppendData(nil, id, []byte("half of it"), true)
			_, _ = c.Write(b[:len(b)-6])
		},
		"an unknown frame":     func(c net.Conn, _ uint32) { _, _ = c.Write([]byte{77, 0, 0, 0, 0, 0, 0, 0}) },
		"another stream":       func(c net.Conn, id uint32) { _, _ = c.Write(frame.AppendData(nil, id+1, nil, true)) },
		"a frame out of place": func(c net.Conn, id uint32) { _, _ = c.Write(frame.AppendOpen(nil, id, frame.OpenInfo{})) },
	}
	for name, script := range tests {
		t.Run(name, func(t *testing.T) {
			b := balancer(t, nil, fakeProxy(t, script))
			v, e := linktest.NewVisitor()
			done := make(chan error, 1)
			go func() { done <- b.Carry(t.Context(), link.Flow{Stream: e, First: []byte("q"), EOF: true}) }()
			if got, err := io.ReadAll(v); !errors.Is(err, linktest.ErrReset) || len(got) > len("half") {
				t.Errorf("answer = %q, %v, want a reset", got, err)
			}
			if err := <-done; !errors.Is(err, link.ErrLost) {
				t.Errorf("Carry = %v, want ErrLost", err)
			}
		})
	}
}

// TestPingIsAnswered: in the middle of a flow too.
func TestPingIsAnswered(t *testing.T) {
	ponged := make(chan string, 1)
	b := balancer(t, nil, fakeProxy(t, func(c net.Conn, id uint32) {
		_, _ = c.Write(frame.AppendPing(nil, frame.Ping, [8]byte{1, 2, 3}))
		buf := make([]byte, 16)
		_, _ = io.ReadFull(c, buf)
		ponged <- string(buf)
		_, _ = c.Write(frame.AppendData(nil, id, []byte("ok"), true))
	}))
	if got, err := ask(t, b, "q"); got != "ok" || err != nil {
		t.Errorf("answer = %q, %v", got, err)
	}
	if got := <-ponged; got != string(frame.AppendPing(nil, frame.Pong, [8]byte{1, 2, 3})) {
		t.Errorf("pong = %x", got)
	}
}

// TestUnreadFlowGoesElsewhere: a proxy that dies before it read the flow has not taken it.
func TestUnreadFlowGoesElsewhere(t *testing.T) {
	e, err := link.ParseEndpoint(unixEndpoint(t))
	if err != nil {
		t.Fatal(err)
	}
	l, err := e.Listen(nil)
	if err != nil {
		t.Fatal(err)
	}
	read := make(chan struct{})
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		defer l.Close() //nolint:errcheck // a test
		c, err := l.Accept()
		if err != nil {
			return
		}
		_, _ = c.Write(frame.AppendHello(nil, frame.HelloInfo{Version: frame.Version})) // the test sees a failure
		<-read
		_ = c.Close()
	}()
	b := balancer(t, nil, link.EndpointOf(l))
	v, edge := linktest.NewVisitor()
	done := make(chan error, 1)
	go func() { done <- b.Carry(t.Context(), link.Flow{Stream: edge, First: []byte("q"), EOF: true}) }()
	eventually(t, func() bool { return b.Status()[0].InFlight == 1 }, "the flow has not started")
	b.SetProxies(nil)
	close(read)
	if err := <-done; !errors.Is(err, link.ErrNotAccepted) && !errors.Is(err, link.ErrLost) {
		t.Errorf("Carry = %v, want ErrNotAccepted", err)
	}
	<-gone
	v.Leave()
}

// TestDeadWorker: a worker that dies in the middle of a request is an error for the handler, not the request's end.
func TestDeadWorker(t *testing.T) {
	for _, ahead := range []bool{false, true} {
		read := make(chan error, 2)
		ended := make(chan struct{}, 2)
		e := serve(t, unixEndpoint(t), nil, link.ServerConfig{ReadAhead: ahead, Handler: link.HandlerFunc(
			func(ctx context.Context, _ link.Meta, s link.Stream) {
				_, _ = io.ReadFull(s, make([]byte, len("half"))) // the next read tells
				ended <- struct{}{}
				_, err := io.Copy(io.Discard, s)
				read <- err
				<-ctx.Done()
				ended <- struct{}{}
			})})
		for _, fin := range []bool{false, true} {
			c, err := net.Dial("unix", strings.TrimPrefix(e.String(), "unix:"))
			if err != nil {
				t.Fatal(err)
			}
			b := frame.AppendHello(nil, frame.HelloInfo{Version: frame.Version})
			b = frame.AppendOpen(b, 1, frame.OpenInfo{})
			b = frame.AppendData(b, 1, []byte("half"), fin)
			if _, err := c.Write(b); err != nil {
				t.Fatal(err)
			}
			<-ended
			if fin {
				if err := <-read; err != nil {
					t.Errorf("read of a complete request = %v", err)
				}
				_ = c.Close()
			} else {
				_ = c.Close()
				if err := <-read; err == nil {
					t.Error("half a request was read as a complete one")
				}
			}
			<-ended
		}
	}
}

func TestWrongHello(t *testing.T) {
	e := serve(t, unixEndpoint(t), nil, link.ServerConfig{Handler: name("x")})
	for _, b := range [][]byte{
		frame.AppendHello(nil, frame.HelloInfo{Version: 99}),
		frame.AppendHello(nil, frame.HelloInfo{Version: frame.Version, Mode: frame.Shared}),
		frame.AppendOpen(nil, 1, frame.OpenInfo{}),
		[]byte("GET / HTTP/1.1\r\n\r\n"),
	} {
		c, err := net.Dial("unix", strings.TrimPrefix(e.String(), "unix:"))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Write(b); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadAll(c); err != nil && !strings.Contains(err.Error(), "reset") {
			t.Errorf("server ended with %v, want a close", err)
		}
		_ = c.Close()
	}
}
