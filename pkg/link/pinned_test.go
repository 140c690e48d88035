package link_test

import (
	"context"
	"errors"
	"io"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/culvert-tunnel/culvert/pkg/link"
	"github.com/culvert-tunnel/culvert/pkg/link/linktest"
	"github.com/culvert-tunnel/culvert/pkg/testkit"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

// until writes "on" and then waits for its end.
func until(hold <-chan struct{}) link.Handler {
	return link.HandlerFunc(func(ctx context.Context, _ link.Meta, s link.Stream) {
		_, _ = io.WriteString(s, "on") // the test sees a failure
		select {
		case <-hold:
		case <-ctx.Done():
		}
		_ = s.CloseWrite()
	})
}

// datagrams starts a flow of messages that is pinned to id.
func datagrams(t *testing.T, c link.Carrier, id tunnel.ProxyID) (*linktest.Visitor, <-chan error) {
	t.Helper()
	v, e := linktest.NewVisitor()
	done := make(chan error, 1)
	f := link.Flow{Meta: link.Meta{Kind: link.KindDatagrams}, Stream: e, Proxy: id}
	go func() { done <- c.Carry(t.Context(), f) }()
	return v, done
}

func read(t *testing.T, v *linktest.Visitor, want string) {
	t.Helper()
	b := make([]byte, len(want))
	if _, err := io.ReadFull(v, b); err != nil || string(b) != want {
		t.Fatalf("response = %q, %v, want %q", b, err, want)
	}
}

func TestPinned(t *testing.T) {
	t.Parallel()
	c := balancer(t, nil)
	var proxies []link.Proxy
	for _, id := range []tunnel.ProxyID{"a", "b", "c"} {
		proxies = append(proxies, link.Proxy{ID: id, Endpoint: serve(t, unixEndpoint(t), nil, link.ServerConfig{Handler: name(string(id))})})
	}
	c.SetProxies(proxies)
	if got := c.Proxies(); !cmp.Equal(got, []tunnel.ProxyID{"a", "b", "c"}) {
		t.Errorf("Proxies() = %v", got)
	}
	for range 10 {
		for _, p := range proxies {
			v, done := datagrams(t, c, p.ID)
			v.CloseWrite()
			if b, err := io.ReadAll(v); err != nil || string(b) != string(p.ID) {
				t.Fatalf("proxy %s: response = %q, %v", p.ID, b, err)
			}
			if err := <-done; err != nil {
				t.Fatalf("Carry = %v", err)
			}
		}
	}
	_, done := datagrams(t, c, "nobody")
	if err := <-done; !errors.Is(err, link.ErrNotAccepted) {
		t.Errorf("Carry to an unknown proxy = %v, want ErrNotAccepted", err)
	}
}

func TestPinnedToADeadProxy(t *testing.T) {
	dead, err := link.ParseEndpoint(unixEndpoint(t))
	if err != nil {
		t.Fatal(err)
	}
	c := balancer(t, nil)
	c.SetProxies([]link.Proxy{
		{ID: "dead", Endpoint: dead},
		{ID: "alive", Endpoint: serve(t, unixEndpoint(t), nil, link.ServerConfig{Handler: name("alive")})},
	})
	for range 20 {
		_, done := datagrams(t, c, "dead")
		if err := <-done; !errors.Is(err, link.ErrNotAccepted) {
			t.Fatalf("Carry = %v, want ErrNotAccepted", err)
		}
	}
	if got := c.Proxies(); !cmp.Equal(got, []tunnel.ProxyID{"alive"}) {
		t.Errorf("Proxies() = %v, want the one that is alive", got)
	}
}

// TestCancelledFlowsKeepBreakerClosed: flows that the worker cancels before a response began do not open the breaker.
func TestCancelledFlowsKeepBreakerClosed(t *testing.T) {
	quiet := link.HandlerFunc(func(ctx context.Context, _ link.Meta, _ link.Stream) { <-ctx.Done() })
	c := balancer(t, nil, serve(t, unixEndpoint(t), nil, link.ServerConfig{Handler: quiet}))
	for range 10 {
		v, done := datagrams(t, c, "p")
		testkit.Eventually(t, "the flow has not begun", func() bool { return c.Status()[0].InFlight == 1 })
		v.Leave()
		if err := <-done; !errors.Is(err, link.ErrEdge) {
			t.Fatalf("Carry = %v, want ErrEdge", err)
		}
	}
	if st := c.Status()[0]; st.Breaker != "closed" {
		t.Errorf("breaker = %s, want closed", st.Breaker)
	}
}

// TestDrainDuringLongFlow: a proxy that stops lets a long flow run, and gets no new flows meanwhile.
func TestDrainDuringLongFlow(t *testing.T) {
	hold := make(chan struct{})
	leaving := start(t, unixEndpoint(t), nil, link.ServerConfig{Handler: until(hold)})
	c := balancer(t, nil)
	c.SetProxies([]link.Proxy{
		{ID: "leaving", Endpoint: leaving.endpoint},
		{ID: "staying", Endpoint: serve(t, unixEndpoint(t), nil, link.ServerConfig{Handler: name("staying")})},
	})
	v, done := datagrams(t, c, "leaving")
	read(t, v, "on")
	leaving.stop()
	testkit.Eventually(t, "the drain went unnoticed", func() bool { return cmp.Equal(c.Proxies(), []tunnel.ProxyID{"staying"}) })
	select {
	case err := <-done:
		t.Fatalf("the flow ended with the beginning of the drain: %v", err)
	default:
	}
	close(hold)
	if _, err := io.ReadAll(v); err != nil {
		t.Errorf("the flow's response ended with %v", err)
	}
	v.CloseWrite()
	if err := <-done; err != nil {
		t.Errorf("Carry = %v", err)
	}
}
