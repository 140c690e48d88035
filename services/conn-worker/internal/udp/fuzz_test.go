package udp

import (
	"testing"

	"github.com/culvert-tunnel/culvert/pkg/wire/datagram"
)

// FuzzReceive gives a serving what an edge could send, in either version: nothing panics, and the bounds hold.
func FuzzReceive(f *testing.F) {
	r, err := registration(1, "x").Append(nil)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(r, true)
	f.Add([]byte{2, 0x45}, true)
	f.Add([]byte{2, 0x60, 1}, true)
	f.Add(datagram.AppendV2UDP(nil, datagram.ID{1}, []byte("x")), false)
	f.Add([]byte{0x4f, 0, 1}, false)
	f.Add((&datagram.Fragment{ID: datagram.ID{1}, Count: 2, Data: make([]byte, datagram.FragmentSize)}).Append(nil, true), true)
	f.Add((&datagram.Fragment{}).Append(nil, false), false)
	f.Fuzz(func(t *testing.T, b []byte, v3 bool) {
		l := newLab(t, Limits{Sessions: 2, QueueBytes: 1 << 16}, "p")
		edge, s := l.serve(V3, 0)
		defer func() { _ = edge.CloseWithError(0, "") }()
		for range 3 {
			if v3 {
				s.receiveV3(b)
			} else {
				s.receiveV2(b)
			}
		}
		if n := l.live(); n > 2 {
			t.Errorf("%d sessions", n)
		}
	})
}
