package udp

import (
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/culvert-tunnel/culvert/pkg/testkit"
	"github.com/culvert-tunnel/culvert/pkg/transport"
	"github.com/culvert-tunnel/culvert/pkg/wire/datagram"
	"github.com/culvert-tunnel/culvert/services/edge/internal/registry"
)

// abyss is a session that delivers registrations and discards payloads.
type abyss struct {
	transport.Session
	n atomic.Uint64
}

func (a *abyss) SendDatagram(b []byte) error {
	a.n.Add(1)
	if t, _ := datagram.TypeV3(b); t == datagram.V3Payload {
		return nil
	}
	return a.Session.SendDatagram(b)
}

func (a *abyss) Received() uint64 { return a.n.Load() }

// BenchmarkSend measures the edge's part of sending a payload, without the transport.
func BenchmarkSend(b *testing.B) {
	for _, size := range []int{64, 1200} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			l := newLab(b, Default())
			l.wrap = func(s transport.Session) transport.Session { return &abyss{Session: s} }
			far := l.connect(registry.NewTable(), 0, 1, ours)
			f := l.start(0)
			far.accept()
			testkit.Receive(b, "the flow is settled", f.settled)
			payload := make([]byte, size)
			b.SetBytes(int64(size))
			for b.Loop() {
				_ = f.Send(payload) // fails for sizes that the wire does not carry
			}
		})
	}
}
