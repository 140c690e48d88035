package flow_test

import (
	"io"
	"net"
	"runtime"
	"testing"

	"github.com/culvert-tunnel/culvert/pkg/link"
	"github.com/culvert-tunnel/culvert/pkg/link/linktest"
	"github.com/culvert-tunnel/culvert/pkg/wire/stream"
)

// BenchmarkTCPStream measures bytes from an origin through the proxy.
func BenchmarkTCPStream(b *testing.B) {
	const size = 16 << 20
	addr := rawOrigin(b, "tcp", func(c net.Conn) {
		buf := make([]byte, 64<<10)
		for sent := 0; sent < size; sent += len(buf) {
			if _, err := c.Write(buf); err != nil {
				return
			}
		}
	})
	c := link.NewDirect(streamHandler(b, rules(b, "http_status:404"), streamLimits(), nil))
	req := stream.Request{Dest: addr, Type: stream.TCP}
	head, err := req.Append(nil)
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(size)
	b.ReportAllocs()
	for b.Loop() {
		v, e := linktest.NewVisitor()
		done := make(chan error, 1)
		go func() { done <- c.Carry(b.Context(), link.Flow{Stream: e, First: head, EOF: true}) }()
		if n, err := io.Copy(io.Discard, v); err != nil || n < size {
			b.Fatal(n, err)
		}
		if err := <-done; err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkIdleStreams measures the memory of streams on which nothing happens.
func BenchmarkIdleStreams(b *testing.B) {
	const count = 500
	addr := rawOrigin(b, "tcp", func(c net.Conn) { _, _ = io.Copy(io.Discard, c) })
	c := link.NewDirect(streamHandler(b, rules(b, "http_status:404"), streamLimits(), nil))
	req := stream.Request{Dest: addr, Type: stream.TCP}
	head, err := req.Append(nil)
	if err != nil {
		b.Fatal(err)
	}
	var before, after runtime.MemStats
	for b.Loop() {
		runtime.GC()
		runtime.ReadMemStats(&before)
		visitors := make([]*linktest.Visitor, count)
		done := make(chan error, count)
		buf := make([]byte, 1<<10)
		for i := range visitors {
			v, e := linktest.NewVisitor()
			visitors[i] = v
			go func() { done <- c.Carry(b.Context(), link.Flow{Stream: e, First: head}) }()
			if _, err := v.Read(buf); err != nil {
				b.Fatal(err)
			}
		}
		runtime.GC()
		runtime.ReadMemStats(&after)
		b.ReportMetric(float64(after.HeapInuse+after.StackInuse-before.HeapInuse-before.StackInuse)/count, "bytes/stream")
		for _, v := range visitors {
			v.CloseWrite()
			_, _ = io.Copy(io.Discard, v)
		}
		for range visitors {
			<-done
		}
	}
}
