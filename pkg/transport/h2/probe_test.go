package h2_test

import (
	"testing"

	"github.com/culvert-tunnel/culvert/pkg/testkit"
	"github.com/culvert-tunnel/culvert/pkg/transport/h2"
)

// TestProbe: a probe brings a sign of life and measures the round trip.
func TestProbe(t *testing.T) {
	t.Parallel()
	connector, edge := sessions(t, nil)
	for name, s := range map[string]*h2.Session{"connector": connector, "edge": edge} {
		if !s.Probe() {
			t.Errorf("%s: no probe was sent", name)
		}
		testkit.Eventually(t, name+": the round trip is measured", func() bool { return s.RTT() > 0 && s.Received() > 0 })
	}
	_ = edge.CloseWithError(0, "") // what it says does not matter
	if edge.Probe() {
		t.Error("a probe of a session that has ended was sent")
	}
}
