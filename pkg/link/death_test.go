package link_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/culvert-tunnel/culvert/pkg/link"
	"github.com/culvert-tunnel/culvert/pkg/link/frame"
	"github.com/culvert-tunnel/culvert/pkg/link/linktest"
	"github.com/culvert-tunnel/culvert/pkg/testkit"
)

// proxyVariable makes the test binary a proxy at the endpoint that it names.
const proxyVariable = "CULVERT_LINK_TEST_PROXY"

// longResponse is more than any socket buffer holds, so that a killed proxy always has a part of it left.
const longResponse = 1 << 20

// Requests that the proxy process holds until it is killed; a repeat of the first one gets a response, one of the second one
// is aborted. Everything else gets longResponse.
const (
	safeRequest   = "safe"
	unsafeRequest = "unsafe"
)

// beProxy serves until it is killed.
func beProxy(endpoint string) error {
	e, err := link.ParseEndpoint(endpoint)
	if err != nil {
		return err
	}
	l, err := e.Listen(nil)
	if err != nil {
		return err
	}
	if _, err := os.Stdout.WriteString("ready\n"); err != nil {
		return err
	}
	chunk := make([]byte, 64<<10)
	handler := func(ctx context.Context, m link.Meta, s link.Stream) {
		request, _ := io.ReadAll(s) // the test sees a failure
		switch {
		case string(request) == safeRequest && m.Repeat:
			_, _ = io.WriteString(s, "repeated")
			_ = s.CloseWrite()
			return
		case string(request) == safeRequest, string(request) == unsafeRequest && !m.Repeat:
			_, _ = os.Stdout.WriteString("held\n")
			<-ctx.Done()
			return
		case m.Repeat:
			s.Abort()
			return
		}
		for range longResponse / len(chunk) {
			if _, err := s.Write(chunk); err != nil {
				return
			}
		}
		_ = s.CloseWrite()
	}
	return link.NewServer(link.ServerConfig{SafeRepeats: true, Handler: link.HandlerFunc(handler)}).Serve(context.Background(), l)
}

// spawn starts a proxy in a process of its own.
func spawn(t *testing.T, endpoint string) (link.Endpoint, *proxyProcess) {
	t.Helper()
	e, err := link.ParseEndpoint(endpoint)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), proxyVariable+"="+endpoint)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // it may be gone already
		_ = cmd.Wait()
	})
	p := &proxyProcess{cmd, bufio.NewReader(out)}
	p.expect(t, "ready")
	return e, p
}

// proxyProcess is a proxy in a process of its own.
type proxyProcess struct {
	*exec.Cmd
	out *bufio.Reader
}

// expect reads one line of the process's output.
func (p *proxyProcess) expect(t *testing.T, want string) {
	t.Helper()
	if line, err := p.out.ReadString('\n'); err != nil || line != want+"\n" {
		t.Fatalf("proxy process printed %q, %v, want %q", line, err, want)
	}
}

// TestKilledProxy: SIGKILL under load costs at most the requests that the proxy had, and no response is truncated.
func TestKilledProxy(t *testing.T) {
	t.Parallel()
	const callers = 8
	first, victim := spawn(t, unixEndpoint(t))
	second, _ := spawn(t, unixEndpoint(t))
	c := balancer(t, nil, first, second)
	var lost, whole atomic.Int32
	killed := make(chan struct{})
	var wg sync.WaitGroup
	for range callers {
		wg.Go(func() {
			for after := 0; after < 5; {
				select {
				case <-killed:
					after++
				default:
				}
				got, err := exchange(t, c, "q")
				switch {
				case err == nil && len(got) == longResponse:
					whole.Add(1)
				case errors.Is(err, link.ErrLost):
					lost.Add(1)
				default:
					t.Errorf("response of %d bytes, %v", len(got), err)
				}
			}
		})
	}
	testkit.Eventually(t, "no flow came through", func() bool { return whole.Load() > 4*callers })
	if err := victim.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	close(killed)
	wg.Wait()
	if n := lost.Load(); n > callers {
		t.Errorf("%d flows lost, want at most the %d in flight", n, callers)
	}
	t.Logf("%d whole, %d lost", whole.Load(), lost.Load())
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
			hello := frame.HelloInfo{Version: frame.Version, Features: frame.FeatureRepeat}
			_, _ = c.Write(frame.AppendHello(nil, hello)) // the test sees a failure
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

// TestTruncatedResponse: a proxy that dies in the middle is an error, whatever it had sent, and never a truncated response.
func TestTruncatedResponse(t *testing.T) {
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
				t.Errorf("response = %q, %v, want a reset", got, err)
			}
			if err := <-done; !errors.Is(err, link.ErrLost) {
				t.Errorf("Carry = %v, want ErrLost", err)
			}
		})
	}
}

// TestPingGetsPong: a proxy may send PING in the middle of a flow.
func TestPingGetsPong(t *testing.T) {
	ponged := make(chan string, 1)
	b := balancer(t, nil, fakeProxy(t, func(c net.Conn, id uint32) {
		_, _ = c.Write(frame.AppendPing(nil, frame.Ping, [8]byte{1, 2, 3}))
		buf := make([]byte, 16)
		_, _ = io.ReadFull(c, buf)
		ponged <- string(buf)
		_, _ = c.Write(frame.AppendData(nil, id, []byte("ok"), true))
	}))
	if got, err := exchange(t, b, "q"); got != "ok" || err != nil {
		t.Errorf("response = %q, %v", got, err)
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
		defer l.Close()
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
	testkit.Eventually(t, "the flow has not started", func() bool { return b.Status()[0].InFlight == 1 })
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
				_, _ = io.ReadFull(s, make([]byte, len("half"))) // the next read shows a failure
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
