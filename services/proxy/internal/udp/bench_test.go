package udp_test

import (
	"fmt"
	"testing"

	"github.com/culvert-tunnel/culvert/pkg/link/packet"
)

// batch is how many messages one read of the link brings in the benchmarks.
const batch = 32

// BenchmarkToOrigin is the way from the worker to the socket.
func BenchmarkToOrigin(b *testing.B) {
	for _, size := range []int{64, 1200} {
		b.Run(fmt.Sprintf("%dB", size), func(b *testing.B) {
			k, o := newKit(b), listenUDP(b, "127.0.0.1:0")
			w := k.connect(b)
			w.send(register(1, o.addr, ""))
			w.registered(1)
			var burst []byte
			m := packet.Message{Type: packet.Payload, ID: register(1, o.addr, "").ID, Data: make([]byte, size)}
			for range batch {
				burst, _ = m.Append(burst)
			}
			b.SetBytes(batch * int64(size))
			b.ReportAllocs()
			n := 0
			for b.Loop() {
				if _, err := w.out.Write(burst); err != nil {
					b.Fatal(err)
				}
				n += batch
			}
			b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "packets/s")
		})
	}
}

// BenchmarkToEdge is the way from the socket to the worker, as fast as an origin on the same machine sends.
func BenchmarkToEdge(b *testing.B) {
	for _, size := range []int{64, 1200} {
		b.Run(fmt.Sprintf("%dB", size), func(b *testing.B) {
			k, o := newKit(b), listenUDP(b, "127.0.0.1:0")
			w := k.connect(b)
			w.send(register(1, o.addr, "hello"))
			w.registered(1)
			_, from, err := o.ReadFrom(make([]byte, 10))
			if err != nil {
				b.Fatal(err)
			}
			b.SetBytes(batch * int64(size))
			b.ReportAllocs()
			data, n := make([]byte, size), 0
			for b.Loop() {
				for range batch { // no more than the socket's buffer holds
					if _, err := o.WriteTo(data, from); err != nil {
						b.Fatal(err)
					}
				}
				for range batch {
					w.next()
				}
				n += batch
			}
			b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "packets/s")
		})
	}
}
