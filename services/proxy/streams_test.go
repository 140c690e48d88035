package proxy_test

import (
	"errors"
	"io"
	"log/slog"
	"net"
	"path/filepath"
	"testing"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/link"
	"github.com/culvert-tunnel/culvert/pkg/link/linktest"
	"github.com/culvert-tunnel/culvert/pkg/testkit"
	"github.com/culvert-tunnel/culvert/pkg/wire/stream"
	"github.com/culvert-tunnel/culvert/services/proxy"
)

// echoServer sends everything back.
func echoServer(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
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
			_, _ = io.Copy(c, c) // one at a time is enough
			_ = c.Close()
		}
	}()
	t.Cleanup(func() { _ = l.Close(); <-done })
	return l.Addr().String()
}

// openStream opens a private-network stream and takes the head of the response off.
func openStream(t *testing.T, c link.Carrier, dest string) (v *linktest.Visitor, carried <-chan error) {
	t.Helper()
	r := stream.Request{Dest: dest, Type: stream.TCP}
	head, err := r.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	v, e := linktest.NewVisitor()
	done := make(chan error, 1)
	go func() { done <- c.Carry(t.Context(), link.Flow{Stream: e, First: head}) }()
	var resp stream.Response
	var buf []byte
	for {
		b := make([]byte, 4<<10)
		n, err := v.Read(b)
		buf = append(buf, b[:n]...)
		if _, perr := stream.ParseResponse(buf, &resp); perr == nil {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if resp.Error != "" {
		t.Fatal(resp.Error)
	}
	return v, done
}

func echoes(t *testing.T, v *linktest.Visitor, text string) {
	t.Helper()
	if _, err := io.WriteString(v, text); err != nil {
		t.Fatalf("send: %v", err)
	}
	b := make([]byte, len(text))
	if _, err := io.ReadFull(v, b); err != nil || string(b) != text {
		t.Fatalf("received %q, %v, want %q", b, err, text)
	}
}

func TestStreamsLastUntilTheDrainIsOver(t *testing.T) {
	dest := echoServer(t)
	cfg := proxy.Default()
	cfg.DrainTimeout = 300 * time.Millisecond
	cfg.Listen = []string{"unix:" + filepath.Join(t.TempDir(), "p.sock")}
	r := run(t, cfg, proxy.Deps{Rules: helloRules(t)})
	b := link.NewBalancer(link.BalancerConfig{Logger: slog.New(slog.DiscardHandler)})
	defer b.Close()
	b.SetProxies([]link.Proxy{{ID: "p", Endpoint: r.svc.Endpoints()[0]}})
	v, carried := openStream(t, b, dest)
	echoes(t, v, "before")
	r.cancel()
	testkit.Eventually(t, "draining", func() bool { return r.svc.Ready() != nil })
	echoes(t, v, "while draining")
	if _, err := io.ReadAll(v); !errors.Is(err, linktest.ErrReset) {
		t.Errorf("end: %v, want a reset", err)
	}
	if err := <-carried; !errors.Is(err, link.ErrLost) && !errors.Is(err, link.ErrReset) {
		t.Errorf("Carry: %v", err)
	}
	r.stop()
}

func TestSingleOriginsThatAreStreams(t *testing.T) {
	for _, tc := range []struct {
		name   string
		change func(*proxy.Config)
	}{
		{"tcp", func(c *proxy.Config) { c.Origin.URL = "tcp://127.0.0.1:22" }},
		{"bastion", func(c *proxy.Config) { c.Origin.Bastion = true }},
		{"socks", func(c *proxy.Config) { c.Origin.URL, c.Origin.Socks5, c.Origin.ProxyProtocol = "ssh://h", true, "v2" }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			cfg := proxy.Default()
			tc.change(&cfg)
			r := run(t, cfg, proxy.Deps{})
			if status, _ := ask(t, link.NewDirect(r.svc.Handler()), "/"); status != "426" {
				t.Errorf("plain request: status %s", status)
			}
			r.stop()
		})
	}
	cfg := proxy.Default()
	cfg.Origin.URL, cfg.Origin.ProxyProtocol = "tcp://h", "v3"
	if _, err := proxy.New(cfg, proxy.Deps{Logger: slog.New(slog.DiscardHandler)}); err == nil {
		t.Error("an unknown version was accepted")
	}
	cfg = proxy.Default()
	cfg.Streams.HalfCloseIdle = -1
	if err := cfg.Validate(); err == nil {
		t.Error("a negative limit was accepted")
	}
}
