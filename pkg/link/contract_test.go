package link_test

import (
	"context"
	"crypto/tls"
	"os"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/culvert-tunnel/culvert/pkg/link"
	"github.com/culvert-tunnel/culvert/pkg/link/linktest"
	"github.com/culvert-tunnel/culvert/pkg/testkit"
)

func TestMain(m *testing.M) {
	if endpoint := os.Getenv(proxyVariable); endpoint != "" {
		if err := beProxy(endpoint); err != nil {
			panic(err)
		}
		return
	}
	goleak.VerifyTestMain(m)
}

func TestDirect(t *testing.T) {
	t.Parallel()
	linktest.Run(t, func(_ *testing.T, h link.Handler) link.Carrier { return link.NewDirect(h) })
}

func TestUnix(t *testing.T) {
	t.Parallel()
	linktest.Run(t, func(t *testing.T, h link.Handler) link.Carrier {
		return balancer(t, nil, serve(t, unixEndpoint(t), nil, link.ServerConfig{Handler: h}))
	})
}

func TestUnixReadAhead(t *testing.T) {
	t.Parallel()
	linktest.Run(t, func(t *testing.T, h link.Handler) link.Carrier {
		return balancer(t, nil, serve(t, unixEndpoint(t), nil, link.ServerConfig{Handler: h, ReadAhead: true}))
	})
}

func TestTCP(t *testing.T) {
	t.Parallel()
	linktest.Run(t, func(t *testing.T, h link.Handler) link.Carrier {
		return balancer(t, nil, serve(t, "tcp:127.0.0.1:0", nil, link.ServerConfig{Handler: h}))
	})
}

func TestTLS(t *testing.T) {
	t.Parallel()
	server, client := certificates(t)
	linktest.Run(t, func(t *testing.T, h link.Handler) link.Carrier {
		return balancer(t, client, serve(t, "tcp:127.0.0.1:0", server, link.ServerConfig{Handler: h}))
	})
}

func TestTLSReadAhead(t *testing.T) {
	t.Parallel()
	server, client := certificates(t)
	linktest.Run(t, func(t *testing.T, h link.Handler) link.Carrier {
		return balancer(t, client, serve(t, "tcp:127.0.0.1:0", server, link.ServerConfig{Handler: h, ReadAhead: true}))
	})
}

func TestSeveralProxies(t *testing.T) {
	t.Parallel()
	server, client := certificates(t)
	linktest.Run(t, func(t *testing.T, h link.Handler) link.Carrier {
		cfg := link.ServerConfig{Handler: h}
		return balancer(t, client,
			serve(t, unixEndpoint(t), nil, cfg),
			serve(t, unixEndpoint(t), nil, cfg),
			serve(t, "tcp:127.0.0.1:0", server, cfg))
	})
}

func unixEndpoint(t testing.TB) string { return "unix:" + filepath.Join(t.TempDir(), "s") }

func certificates(t testing.TB) (server, client *tls.Config) {
	t.Helper()
	dir := t.TempDir()
	if err := link.WriteTLS(dir); err != nil {
		t.Fatal(err)
	}
	server, clients, err := link.LoadTLS(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	return server, clients()
}

// running is a server of a test.
type running struct {
	endpoint link.Endpoint
	// stop begins the drain, done is the result of Serve.
	stop context.CancelFunc
	done <-chan error
}

func start(t testing.TB, endpoint string, conf *tls.Config, cfg link.ServerConfig) *running {
	t.Helper()
	e, err := link.ParseEndpoint(endpoint)
	if err != nil {
		t.Fatal(err)
	}
	l, err := e.Listen(conf)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	r := &running{endpoint: link.EndpointOf(l), stop: cancel, done: done}
	if cfg.DrainTimeout == 0 {
		cfg.DrainTimeout = 5 * time.Second
	}
	cfg.SafeRepeats = true
	s := link.NewServer(cfg)
	go func() { done <- s.Serve(ctx, l); close(done) }()
	t.Cleanup(func() {
		cancel()
		for err := range done {
			if err != nil {
				t.Errorf("Serve = %v", err)
			}
		}
	})
	return r
}

func serve(t testing.TB, endpoint string, conf *tls.Config, cfg link.ServerConfig) link.Endpoint {
	return start(t, endpoint, conf, cfg).endpoint
}

func balancer(t testing.TB, conf *tls.Config, endpoints ...link.Endpoint) *link.Balancer {
	t.Helper()
	b := link.NewBalancer(link.BalancerConfig{
		TLS:         func() *tls.Config { return conf },
		DialTimeout: testkit.Patience, // many dials at once take long on a busy machine, and five that fail open the breaker
	})
	var ps []link.Proxy
	for _, e := range endpoints {
		ps = append(ps, link.Proxy{ID: "p", Endpoint: e})
	}
	b.SetProxies(ps)
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	})
	return b
}
