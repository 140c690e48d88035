package udp

import (
	"time"

	"github.com/culvert-tunnel/culvert/pkg/link/packet"
	"github.com/culvert-tunnel/culvert/pkg/logkey"
	"github.com/culvert-tunnel/culvert/pkg/wire/datagram"
)

// fragment handles one fragment of the edge (docs/extensions.md). Only the goroutine that receives calls it.
func (s *Session) fragment(b []byte) {
	f, err := datagram.ParseFragment(b, s.version == V3)
	if err != nil {
		s.refuse(err)
		return
	}
	s.fragments.Store(true)
	payload, lost := s.incomplete.Add(f, time.Now())
	for range lost {
		s.drop(Incomplete)
	}
	if payload != nil {
		s.payload(f.ID, payload)
	}
}

// sendFragments gives a payload to the edge that does not fit into one datagram, if the edge takes fragments.
func (s *Session) sendFragments(f *flow, m *packet.Message) {
	if !s.fragments.Load() {
		s.drop(TooLarge)
		s.relay.tooLarge.Do(func() {
			s.cfg.Logger.Warn("udp payload dropped: it is larger than the edge takes", logkey.Bytes, len(m.Data), logkey.Limit, datagram.MaxPayload,
				logkey.TunnelID, s.meta.Tunnel)
		})
		return
	}
	fragments, err := datagram.Fragments(m.ID, uint16(s.number.Add(1)), m.Data) //nolint:gosec // it may wrap
	if err != nil {
		s.drop(TooLarge)
		return
	}
	for i := range fragments {
		f.out = fragments[i].Append(f.out[:0], s.version == V3)
		s.send(f.out)
	}
}
