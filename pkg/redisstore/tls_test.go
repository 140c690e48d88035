package redisstore_test

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/filewatch"
	"github.com/culvert-tunnel/culvert/pkg/redisstore"
	"github.com/culvert-tunnel/culvert/pkg/testkit"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

// A real server behind TLS: it is trusted with the configured roots and with no others.
func TestTLS(t *testing.T) {
	_, url := startServer(t)
	caFile, serverTLS := certificate(t)
	addr := terminate(t, serverTLS, strings.TrimPrefix(url, "unix://"))
	cfg := redisstore.Default()
	cfg.URL = "rediss://" + addr
	untrusting, err := redisstore.Open(t.Context(), cfg)
	closing(t, untrusting, err)
	if err := untrusting.Ping(t.Context()); !errors.Is(err, tunnel.ErrUnavailable) {
		t.Errorf("Ping under the system's roots: got %v, want unavailable", err)
	}
	cfg.CAFile = caFile
	s, err := redisstore.Open(t.Context(), cfg)
	closing(t, s, err)
	if err := s.Ping(t.Context()); err != nil {
		t.Errorf("Ping: %v", err)
	}
	if _, err := s.TakeLead(t.Context(), "role", "holder", time.Minute); err != nil {
		t.Errorf("TakeLead: %v", err)
	}
}

// TestRootsAreReadAgain: a store whose authority is replaced is trusted by the next connection.
func TestRootsAreReadAgain(t *testing.T) {
	_, url := startServer(t)
	caFile, serverTLS := certificate(t)
	otherFile, _ := certificate(t)
	cfg := redisstore.Default()
	cfg.URL, cfg.CAFile = "rediss://"+terminate(t, serverTLS, strings.TrimPrefix(url, "unix://")), otherFile
	files := filewatch.New(func(filewatch.Event) {})
	s, err := redisstore.OpenWatched(t.Context(), cfg, files)
	closing(t, s, err)
	if err := s.Ping(t.Context()); !errors.Is(err, tunnel.ErrUnavailable) {
		t.Errorf("Ping with another authority: got %v, want unavailable", err)
	}
	b, err := os.ReadFile(caFile)
	if err == nil {
		err = os.WriteFile(otherFile, b, 0o600)
	}
	if err != nil {
		t.Fatalf("replace the authority: %v", err)
	}
	files.Check()
	if err := s.Ping(t.Context()); err != nil {
		t.Errorf("Ping with the replaced authority: %v", err)
	}
}

func certificate(t *testing.T) (caFile string, cfg *tls.Config) {
	t.Helper()
	ca := testkit.NewCA(t)
	return ca.File(t), &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{ca.Issue(t, "127.0.0.1")}}
}

// terminate accepts TLS connections and forwards their bytes to a Unix socket.
func terminate(t *testing.T, cfg *tls.Config, socket string) (addr string) {
	t.Helper()
	plain, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ln := tls.NewListener(plain, cfg)
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			front, err := ln.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { splice(ctx, front, socket) })
		}
	})
	t.Cleanup(func() {
		cancel()
		_ = ln.Close() // nothing is lost with it
		wg.Wait()
	})
	return plain.Addr().String()
}

func splice(ctx context.Context, front net.Conn, socket string) {
	defer front.Close()
	back, err := (&net.Dialer{}).DialContext(ctx, "unix", socket)
	if err != nil {
		return
	}
	defer back.Close()
	stop := context.AfterFunc(ctx, func() { _, _ = front.Close(), back.Close() })
	defer stop()
	var wg sync.WaitGroup
	wg.Go(func() {
		_, _ = io.Copy(back, front) // either end may go first
		_ = back.Close()
	})
	_, _ = io.Copy(front, back)
	_ = front.Close()
	wg.Wait()
}
