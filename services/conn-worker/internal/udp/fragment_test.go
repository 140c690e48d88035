package udp

import (
	"strings"
	"testing"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/link/packet"
	"github.com/culvert-tunnel/culvert/pkg/testkit"
	"github.com/culvert-tunnel/culvert/pkg/wire/datagram"
)

// TestLargePayloads: payloads pass in fragments once the edge has said that it takes them, and are dropped before.
func TestLargePayloads(t *testing.T) {
	for name, version := range map[string]Version{"v2": V2, "v3": V3} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t, roomy, "p")
			edge, s := l.serve(version, 0)
			id, large, v3 := datagram.ID{1}, strings.Repeat("large", 400), version == V3
			if err := s.register(id, dest("192.0.2.1:53"), 0, nil, make(chan packet.Message, 1)); err != nil {
				t.Fatal(err)
			}
			p := l.nextFlow()
			p.accept()
			p.say(packet.Message{Type: packet.Payload, ID: id, Data: []byte(large)})
			testkit.Eventually(l.t, "the payload is dropped", func() bool { return l.dropped(TooLarge) == 1 })

			send(t, edge, (&datagram.Fragment{}).Append(nil, v3), nil)
			fragments, err := datagram.Fragments(id, 1, []byte(large))
			if err != nil {
				t.Fatal(err)
			}
			for _, f := range fragments {
				send(t, edge, f.Append(nil, v3), nil)
			}
			if m := p.want(packet.Payload); string(m.Data) != large {
				t.Errorf("%d bytes to the proxy", len(m.Data))
			}
			p.say(packet.Message{Type: packet.Payload, ID: id, Data: []byte(large)})
			var r datagram.Reassembler
			for {
				f, err := datagram.ParseFragment(next(t, edge), v3)
				if err != nil {
					t.Fatal(err)
				}
				if got, _ := r.Add(f, time.Now()); got != nil {
					if string(got) != large || f.ID != id {
						t.Errorf("%d bytes to the edge", len(got))
					}
					break
				}
			}
			// What belongs to no payload is counted.
			send(t, edge, (&datagram.Fragment{ID: id, Index: 3, Count: 2}).Append(nil, v3), nil)
			for n := range uint16(9) {
				f := fragments[0]
				f.Number = 10 + n
				send(t, edge, f.Append(nil, v3), nil)
			}
			testkit.Eventually(l.t, "the drops are counted", func() bool { return l.dropped(Malformed) == 1 && l.dropped(Incomplete) == 1 })
		})
	}
}
