package edge_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/culvert-tunnel/culvert/pkg/testkit"
	"github.com/culvert-tunnel/culvert/pkg/transport"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
	"github.com/culvert-tunnel/culvert/pkg/wire/proxyproto"
	"github.com/culvert-tunnel/culvert/pkg/wire/stream"
	"github.com/culvert-tunnel/culvert/services/edge"
	"github.com/culvert-tunnel/culvert/services/edge/adminclient"
)

const featureStreams = "culvert_streams_1"

// target is the target of the ports; the scripts ignore it.
var target = adminclient.PortTarget{To: "10.0.0.5:22"}

// port opens a free public port of the tunnel demo and returns its name and its address.
func (b *bench) port(to adminclient.PortTarget) (name, addr string) {
	b.t.Helper()
	r, err := b.admin.AddPort(b.t.Context(), "tcp://127.0.0.1:0", "demo", to)
	if err != nil {
		b.t.Fatalf("AddPort: %v", err)
	}
	return r.Host, r.Bound
}

func visit(t *testing.T, addr string) *net.TCPConn {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatalf("dial: %v", err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if err := c.SetDeadline(time.Now().Add(testkit.Patience)); err != nil {
		t.Fatal(err)
	}
	return c.(*net.TCPConn)
}

// accept accepts a TCP request.
func accept(st transport.Stream) { send(st, &stream.Response{}) }

// echoTCP accepts, echoes the bytes until FIN, then sends a farewell.
func echoTCP(_ *peer, _ *stream.Request, body io.Reader, st transport.Stream) {
	accept(st)
	if _, err := io.Copy(struct{ io.Writer }{st}, body); err != nil {
		st.CancelWrite(0)
		return
	}
	_, _ = io.WriteString(st, "bye")
	end(st)
}

// wantRefusal connects to a port that resets every connection, at once or a little later.
func wantRefusal(t *testing.T, what, addr string) {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if errors.Is(err, syscall.ECONNRESET) {
		return
	}
	if err != nil {
		t.Fatalf("%s: dial: %v", what, err)
	}
	defer func() { _ = c.Close() }()
	wantReset(t, what, c)
}

func wantReset(t *testing.T, what string, c net.Conn) {
	t.Helper()
	if b, err := io.ReadAll(c); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("%s: the visitor read %q, %v, want a reset", what, b, err)
	}
}

func TestPortCarriesBothWays(t *testing.T) {
	t.Parallel()
	b := start(t, nil)
	requests := make(chan stream.Request, 1)
	b.connect(0, 0, func(p *peer, req *stream.Request, body io.Reader, st transport.Stream) {
		requests <- stream.Request{Dest: req.Dest, Type: req.Type, Metadata: append([]stream.Pair(nil), req.Metadata...)}
		echoTCP(p, req, body, st)
	}, featureStreams)
	_, addr := b.port(target)
	c := visit(t, addr)
	go func() {
		_, _ = c.Write(pattern(5 << 20))
		_ = c.CloseWrite()
	}()
	got, err := io.ReadAll(c)
	if err != nil || !bytes.Equal(got, append(pattern(5<<20), "bye"...)) {
		t.Errorf("%d bytes, %v; want all and the farewell that follows the visitor's end", len(got), err)
	}
	req := <-requests
	if req.Dest != "10.0.0.5:22" || req.Type != stream.TCP {
		t.Errorf("request to %s of type %v", req.Dest, req.Type)
	}
	keys := map[string]string{}
	for _, p := range req.Metadata {
		keys[p.Key] = p.Val
	}
	if keys["CulvertClient"] != c.LocalAddr().String() || len(keys["FlowID"]) != 16 || len(keys) != 2 {
		t.Errorf("metadata %v, want the flow and the client %s", keys, c.LocalAddr())
	}
}

// TestPortResponseOfConnectorThatEndsAtFIN: a connector without half-close ends the whole stream at FIN, so it must not get FIN while
// a response is on its way.
func TestPortResponseOfConnectorThatEndsAtFIN(t *testing.T) {
	t.Parallel()
	b := start(t, func(c *edge.Config) { c.Ports.FinHold = time.Hour })
	half, ended := make(chan struct{}), make(chan error, 1)
	b.connect(0, 0, func(_ *peer, _ *stream.Request, body io.Reader, st transport.Stream) {
		accept(st)
		read := make(chan error, 1)
		go func() {
			_, err := io.Copy(io.Discard, body)
			read <- err
		}()
		_, _ = st.Write(pattern(1000))
		<-half
		_, _ = st.Write(pattern(1000))
		end(st)
		ended <- <-read
	})
	_, addr := b.port(target)
	c := visit(t, addr)
	_, _ = io.WriteString(c, "hello")
	_ = c.CloseWrite()
	if _, err := io.ReadFull(c, make([]byte, 1000)); err != nil {
		t.Fatal(err)
	}
	close(half)
	if got, err := io.ReadAll(c); err != nil || !bytes.Equal(got, pattern(1000)) {
		t.Errorf("%d bytes, %v, want the whole response", len(got), err)
	}
	if err := <-ended; err == nil {
		t.Error("the end of the request reached the connector before its response was complete")
	}
}

// TestPortFINWithoutResponse: such a connector gets FIN once the response is silent; otherwise the origin would keep a dead
// connection.
func TestPortFINWithoutResponse(t *testing.T) {
	t.Parallel()
	b := start(t, func(c *edge.Config) { c.Ports.FinHold = 20 * time.Millisecond })
	ended := make(chan error, 1)
	b.connect(0, 0, func(_ *peer, _ *stream.Request, body io.Reader, st transport.Stream) {
		accept(st)
		_, err := io.Copy(io.Discard, body)
		ended <- err
		end(st)
	})
	_, addr := b.port(target)
	c := visit(t, addr)
	_ = c.CloseWrite()
	if err := <-ended; err != nil {
		t.Errorf("the connector saw %v, want FIN", err)
	}
	if got, err := io.ReadAll(c); err != nil || len(got) != 0 {
		t.Errorf("%q, %v, want the end", got, err)
	}
}

func TestPortProxyProtocol(t *testing.T) {
	t.Parallel()
	b := start(t, nil)
	b.connect(0, 0, func(_ *peer, _ *stream.Request, body io.Reader, st transport.Stream) {
		accept(st)
		all, _ := io.ReadAll(body)
		h, n, err := proxyproto.Parse(all)
		_, _ = fmt.Fprintf(st, "%v %v %q %v", h.Source, h.Destination, all[n:], err)
		end(st)
	}, featureStreams)
	for _, version := range []string{"v1", "v2"} {
		_, addr := b.port(adminclient.PortTarget{To: target.To, ProxyProtocol: version})
		c := visit(t, addr)
		_, _ = io.WriteString(c, "data")
		_ = c.CloseWrite()
		got, err := io.ReadAll(c)
		if want := fmt.Sprintf("%s %s %q <nil>", c.LocalAddr(), addr, "data"); string(got) != want || err != nil {
			t.Errorf("%s: the origin saw %q, %v, want %q", version, got, err, want)
		}
	}
}

func TestPortEndsThatAreErrors(t *testing.T) {
	t.Parallel()
	b := start(t, func(c *edge.Config) { c.Ports.ConnectTimeout = 2 * time.Second })
	_, addr := b.port(target)
	wantRefusal(t, "no connector", addr)

	seen := make(chan error, 1)
	var act atomic.Pointer[script]
	p := b.connect(0, 0, func(p *peer, req *stream.Request, body io.Reader, st transport.Stream) {
		(*act.Load())(p, req, body, st)
	}, featureStreams)
	for name, s := range map[string]script{
		"refused": func(_ *peer, _ *stream.Request, _ io.Reader, st transport.Stream) {
			send(st, &stream.Response{Error: "unable to dial tcp to origin"})
			end(st)
		},
		"reset":   func(_ *peer, _ *stream.Request, _ io.Reader, st transport.Stream) { st.CancelWrite(0) },
		"garbage": func(_ *peer, _ *stream.Request, _ io.Reader, st transport.Stream) { _, _ = st.Write(pattern(100)) },
		"half a head": func(_ *peer, _ *stream.Request, _ io.Reader, st transport.Stream) {
			_, _ = st.Write([]byte("\x0a\x36"))
			end(st)
		},
		"not accepted": func(_ *peer, _ *stream.Request, _ io.Reader, st transport.Stream) { respond(st, "404"); end(st) },
		"no response": func(_ *peer, _ *stream.Request, _ io.Reader, st transport.Stream) {
			<-st.Context().Done()
		},
		"broken off": func(_ *peer, _ *stream.Request, body io.Reader, st transport.Stream) {
			accept(st)
			_, _ = io.WriteString(st, "part")
			_, _ = io.ReadFull(body, make([]byte, 2))
			st.CancelWrite(0)
		},
	} {
		act.Store(&s)
		if name != "broken off" {
			wantRefusal(t, name, addr)
			continue
		}
		c := visit(t, addr)
		if _, err := io.ReadFull(c, make([]byte, 4)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		_, _ = io.WriteString(c, "go")
		wantReset(t, name, c)
	}

	gone := script(func(_ *peer, _ *stream.Request, body io.Reader, st transport.Stream) {
		accept(st)
		_, err := io.Copy(io.Discard, body)
		seen <- err
	})
	act.Store(&gone)
	c := visit(t, addr)
	_, _ = io.WriteString(c, "x")
	_ = c.SetLinger(0)
	_ = c.Close()
	if err := <-seen; !errors.Is(err, transport.ErrReset) {
		t.Errorf("after the visitor's reset the connector saw %v, want a reset", err)
	}

	lost := script(func(p *peer, _ *stream.Request, body io.Reader, st transport.Stream) {
		accept(st)
		_, _ = io.ReadFull(body, make([]byte, 1))
		p.work.Go(func() { _ = p.sess.CloseWithError(0, "") })
	})
	act.Store(&lost)
	c = visit(t, addr)
	_, _ = io.WriteString(c, "x")
	wantReset(t, "lost connection", c)
	<-p.sess.Context().Done()
}

// TestPortTriesAnotherConnection: none of the visitor's bytes are sent before a connector accepts, so another one can be tried.
func TestPortTriesAnotherConnection(t *testing.T) {
	t.Parallel()
	b := start(t, nil)
	var refusals atomic.Int32
	b.connect(0, 0, func(_ *peer, _ *stream.Request, _ io.Reader, st transport.Stream) {
		refusals.Add(1)
		send(st, &stream.Response{Error: "full", Metadata: []stream.Pair{{Key: stream.KeyFlowLimited, Val: "true"}}})
		end(st)
	}, featureStreams)
	b.connect(1, 1, echoTCP, featureStreams)
	_, addr := b.port(target)
	for refusals.Load() < 3 {
		c := visit(t, addr)
		_, _ = io.WriteString(c, "x")
		_ = c.CloseWrite()
		if got, err := io.ReadAll(c); string(got) != "xbye" || err != nil {
			t.Fatalf("after %d refusals: %q, %v", refusals.Load(), got, err)
		}
	}
}

// TestPortWhenTheOriginEndsFirst: the visitor gets the whole response, although the origin reads no more of its data.
func TestPortWhenTheOriginEndsFirst(t *testing.T) {
	t.Parallel()
	b := start(t, nil)
	for i, features := range [][]string{nil, {featureStreams}} {
		p := b.connect(i, tunnel.ConnIndex(i), func(_ *peer, _ *stream.Request, body io.Reader, st transport.Stream) {
			accept(st)
			_, _ = io.ReadFull(body, make([]byte, 10))
			_, _ = st.Write(pattern(300 << 10))
			end(st)
		}, features...)
		_, addr := b.port(target)
		c := visit(t, addr)
		sent := make(chan struct{})
		go func() {
			defer close(sent)
			for {
				if _, err := c.Write(make([]byte, 1000)); err != nil {
					return
				}
			}
		}()
		got := make([]byte, 300<<10)
		if _, err := io.ReadFull(c, got); err != nil || !bytes.Equal(got, pattern(300<<10)) {
			t.Errorf("%v: %v", features, err)
		}
		if n, err := c.Read(got); n != 0 || !errors.Is(err, io.EOF) {
			t.Errorf("%v: after the response %d bytes, %v, want its end", features, n, err)
		}
		<-sent // the edge stops reading bytes that the connector does not want
		p.close()
		testkit.Eventually(t, "the connection is gone", func() bool { return b.connections("active") == 0 })
	}
}

func TestPortLimits(t *testing.T) {
	t.Parallel()
	b := start(t, func(c *edge.Config) { c.Ports.MaxConnections, c.Ports.HalfCloseTimeout = 2, 100*time.Millisecond })
	b.connect(0, 0, func(_ *peer, _ *stream.Request, body io.Reader, st transport.Stream) {
		accept(st)
		_, _ = io.WriteString(st, "x")
		_, _ = io.Copy(io.Discard, body)
		<-st.Context().Done()
	}, featureStreams)
	_, addr := b.port(target)
	first, second := visit(t, addr), visit(t, addr)
	for _, c := range []net.Conn{first, second} {
		if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
	}
	wantRefusal(t, "one too many", addr)
	_ = first.CloseWrite() // the origin never responds
	wantReset(t, "half closed and silent", first)

	_, addr = b.port(adminclient.PortTarget{To: target.To, Idle: "100ms"})
	c := visit(t, addr)
	if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	wantReset(t, "idle", c)
	_ = second.Close()
}

func TestPortLife(t *testing.T) {
	t.Parallel()
	b := start(t, func(c *edge.Config) { c.Ports.Allow = []string{"1-65534"} })
	b.connect(0, 0, echoTCP, featureStreams)
	ctx := t.Context()
	name, addr := b.port(target)
	c := visit(t, addr)
	talk := func() {
		t.Helper()
		got := make([]byte, 1)
		if _, err := io.WriteString(c, "x"); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(c, got); err != nil || got[0] != 'x' {
			t.Fatalf("%q, %v", got, err)
		}
	}
	talk()
	if r, err := b.admin.AddPort(ctx, name, "demo", target); err != nil || r.Bound != addr {
		t.Errorf("the same port again: %+v, %v", r, err)
	}
	if _, err := b.admin.AddPort(ctx, name, "demo", adminclient.PortTarget{HostName: "x.test"}); !errors.Is(err, tunnel.ErrConflict) {
		t.Errorf("the port with another target: %v", err)
	}
	if _, err := b.admin.AddPort(ctx, "tcp://127.0.0.1:65535", "demo", target); err == nil || !strings.Contains(err.Error(), "ports.allow") {
		t.Errorf("a port that is not allowed: %v", err)
	}
	if _, err := b.admin.AddPort(ctx, "tcp://192.0.2.1:0", "demo", target); err == nil || !strings.Contains(err.Error(), "no such address") {
		t.Errorf("an address of another host: %v", err)
	}
	routes, err := b.admin.ListRoutes(ctx)
	if err != nil || len(routes) != 2 || routes[1].Host != name || routes[1].Bound != addr || routes[1].To != target.To ||
		routes[1].TunnelName != "demo" {
		t.Errorf("routes %+v, %v", routes, err)
	}
	if err := b.admin.DeleteRoute(ctx, name); err != nil {
		t.Fatalf("DeleteRoute: %v", err)
	}
	if _, err := net.Dial("tcp", addr); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("the deleted port: %v, want it refused", err)
	}
	talk() // what runs goes on
	if _, err := b.admin.AddPort(ctx, name, "demo", target); err != nil {
		t.Errorf("the port is not free again: %v", err)
	}
	if err := b.admin.DeleteTunnel(ctx, "demo", true); err != nil {
		t.Fatal(err)
	}
	if _, err := net.Dial("tcp", addr); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("the port of a deleted tunnel: %v, want it refused", err)
	}
}

// TestPortThatIsNotFree: a port that another process uses does not stop the edge, and is opened once it is free.
func TestPortThatIsNotFree(t *testing.T) {
	t.Parallel()
	taken := testkit.ListenTCP(t)
	name := "tcp://" + taken.Addr().String()
	b := start(t, func(c *edge.Config) { c.Bootstrap.Routes = []string{"*", name + "?to=10.0.0.5:22&idle=1h"} })
	b.connect(0, 0, echoTCP, featureStreams)
	fault := func() string {
		routes, err := b.admin.ListRoutes(t.Context())
		if err != nil || len(routes) != 2 || routes[1].Host != name || routes[1].Idle != "1h0m0s" {
			t.Fatalf("routes %+v, %v", routes, err)
		}
		return routes[1].Fault
	}
	if got := fault(); !strings.Contains(got, "in use") {
		t.Errorf("fault %q, want that the port is in use", got)
	}
	_, err := b.admin.AddPort(t.Context(), name, "demo", adminclient.PortTarget{To: "10.0.0.5:22", Idle: "1h"})
	if !errors.Is(err, tunnel.ErrConflict) {
		t.Errorf("adding it again: %v, want ErrConflict", err)
	}
	if err := taken.Close(); err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, "the port is open", func() bool { return fault() == "" })
	c := visit(t, taken.Addr().String())
	_ = c.CloseWrite()
	if got, err := io.ReadAll(c); string(got) != "bye" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
}

func TestPortsSurviveARestart(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	same := func(c *edge.Config) {
		c.DataDir = filepath.Join(dir, "edge")
		c.Ports.DrainTimeout = 100 * time.Millisecond
	}
	b := start(t, same)
	b.connect(0, 0, echoTCP, featureStreams)
	name, addr := b.port(target)
	c := visit(t, addr)
	_, _ = io.WriteString(c, "x")
	if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	b.stop()
	wantReset(t, "the edge stopped", c)
	b = start(t, same)
	routes, err := b.admin.ListRoutes(t.Context())
	if err != nil || len(routes) != 2 || routes[1].Host != name || routes[1].Bound != addr {
		t.Errorf("routes %+v, %v", routes, err)
	}
}

func TestBootstrapPortErrors(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"tcp://:2222":                  "no target",
		"tcp://:0?to=10.0.0.5:22":      "needs a number",
		"tcp://:2222?to=10.0.0.5:22&x": "none of to",
	} {
		cfg := testConfig(t)
		cfg.Bootstrap.Routes = []string{text}
		svc, err := edge.New(cfg, edge.Deps{Logger: logger(), Registerer: prometheus.NewRegistry()})
		if err == nil {
			_ = svc.Close()
		}
		if err == nil || !strings.Contains(err.Error(), "bootstrap: ") || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: New = %v, want %q", text, err, want)
		}
	}
}
