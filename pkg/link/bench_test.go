package link_test

import (
	"context"
	"fmt"
	"io"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/link"
)

// nullEdge discards the response.
type nullEdge struct {
	ctx context.Context //nolint:containedctx // it is the stream's own life
}

func (nullEdge) Read([]byte) (int, error)    { return 0, io.EOF }
func (nullEdge) Write(p []byte) (int, error) { return len(p), nil }
func (nullEdge) CloseWrite() error           { return nil }
func (nullEdge) CancelRead(uint64)           {}
func (nullEdge) CancelWrite(uint64)          {}
func (e nullEdge) Context() context.Context  { return e.ctx }

// responder reads the request and responds with head and body of the given size.
func responder(size int) link.Handler {
	head, body := []byte(strings.Repeat("h", 100)), make([]byte, size)
	return link.HandlerFunc(func(_ context.Context, _ link.Meta, s link.Stream) {
		var buf [512]byte
		for {
			if _, err := s.Read(buf[:]); err != nil {
				break
			}
		}
		_ = s.Buffer(head) // the benchmark sees a failure
		if len(body) <= 16<<10 {
			_ = s.Buffer(body)
		} else {
			_, _ = s.Write(body)
		}
		_ = s.CloseWrite()
	})
}

// BenchmarkCarry is a request of 200 B and a response of 100 B head and a body. cpu-ns/op is of both ends together.
func BenchmarkCarry(b *testing.B) {
	server, client := certificates(b)
	carriers := []struct {
		name string
		make func(b *testing.B, h link.Handler) link.Carrier
	}{
		{"direct", func(_ *testing.B, h link.Handler) link.Carrier { return link.NewDirect(h) }},
		{"unix", func(b *testing.B, h link.Handler) link.Carrier {
			return balancer(b, nil, serve(b, unixEndpoint(b), nil, link.ServerConfig{Handler: h}))
		}},
		{"tcp", func(b *testing.B, h link.Handler) link.Carrier {
			return balancer(b, nil, serve(b, "tcp:127.0.0.1:0", nil, link.ServerConfig{Handler: h}))
		}},
		{"tls", func(b *testing.B, h link.Handler) link.Carrier {
			return balancer(b, client, serve(b, "tcp:127.0.0.1:0", server, link.ServerConfig{Handler: h}))
		}},
	}
	for _, c := range carriers {
		for _, size := range []int{200, 64 << 10} {
			for _, n := range []int{1, 32} {
				b.Run(fmt.Sprintf("%s/%dB/n=%d", c.name, size, n), func(b *testing.B) {
					benchmark(b, c.make(b, responder(size)), n)
				})
			}
		}
	}
}

// BenchmarkBulk is a response of any length in writes of 64 KiB.
func BenchmarkBulk(b *testing.B) {
	server, client := certificates(b)
	for _, network := range []string{"unix", "tcp", "tls"} {
		b.Run(network, func(b *testing.B) {
			chunk := make([]byte, 64<<10)
			cfg := link.ServerConfig{Handler: link.HandlerFunc(func(_ context.Context, _ link.Meta, s link.Stream) {
				for range b.N {
					if _, err := s.Write(chunk); err != nil {
						return
					}
				}
				_ = s.CloseWrite() // the benchmark sees a failure
			})}
			var c link.Carrier
			switch network {
			case "unix":
				c = balancer(b, nil, serve(b, unixEndpoint(b), nil, cfg))
			case "tcp":
				c = balancer(b, nil, serve(b, "tcp:127.0.0.1:0", nil, cfg))
			default:
				c = balancer(b, client, serve(b, "tcp:127.0.0.1:0", server, cfg))
			}
			b.SetBytes(int64(len(chunk)))
			before := cpu()
			if err := c.Carry(b.Context(), link.Flow{Stream: &nullEdge{ctx: b.Context()}, First: make([]byte, 200), EOF: true}); err != nil {
				b.Fatal(err)
			}
			b.ReportMetric(float64(len(chunk)*b.N)/1e6/(cpu()-before).Seconds(), "MB/cpu-s")
		})
	}
}

func benchmark(b *testing.B, c link.Carrier, n int) {
	// The edge's context is one that can end, as a real one is.
	ctx, cancel := context.WithCancel(b.Context())
	defer cancel()
	f := link.Flow{Stream: &nullEdge{ctx: ctx}, First: make([]byte, 200), EOF: true}
	b.ReportAllocs()
	b.SetParallelism(max(1, n/2))
	before := cpu()
	if n == 1 {
		for b.Loop() {
			if err := c.Carry(ctx, f); err != nil {
				b.Fatal(err)
			}
		}
	} else {
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				if err := c.Carry(ctx, f); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	b.ReportMetric(float64(cpu()-before)/float64(b.N), "cpu-ns/op")
}

// cpu is what the process has used so far.
func cpu() time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
