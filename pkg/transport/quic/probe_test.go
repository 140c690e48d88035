package quic_test

import (
	"testing"

	"github.com/culvert-tunnel/culvert/pkg/testkit"
	"github.com/culvert-tunnel/culvert/pkg/transport"
)

// TestProbe: a probe brings a sign of life, and the edge's end can be probed as well.
func TestProbe(t *testing.T) {
	t.Parallel()
	near, far := pair(t, "127.0.0.1:0")
	for name, end := range map[string]transport.Session{"connector": near, "edge": far} {
		s, ok := end.(transport.Prober)
		if !ok {
			t.Fatalf("%s: no prober", name)
		}
		before := s.Received()
		if !s.Probe() {
			t.Errorf("%s: no probe was sent", name)
		}
		testkit.Eventually(t, name+": a sign of life", func() bool { return s.Received() > before })
		if s.RTT() <= 0 {
			t.Errorf("%s: the round trip is %v", name, s.RTT())
		}
	}
}
