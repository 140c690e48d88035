package sim

import (
	"strings"
	"testing"

	"github.com/culvert-tunnel/culvert/pkg/lease"
)

// TestAim: faults hit states that no run has brought together with them.
func TestAim(t *testing.T) {
	t.Parallel()
	s := Many(1, 1, Options{})
	want := []cell{{Pause, int(lease.PhaseWaiting) + 1}, {Emptied, int(lease.PhaseDialing) + 1}, {EdgeDrops, int(lease.PhaseRegistering) + 1}}
	for _, k := range Kinds() {
		for i := range columns {
			s.Coverage.count(k, i, 1)
		}
	}
	for _, c := range want {
		s.Coverage.counts[c.kind][c.column] = 0
	}
	if text := s.Coverage.Explain(); strings.Count(text, "never:") != len(want) {
		t.Errorf("before: %q, want %d cells", text, len(want))
	}
	runs := s.Runs
	Aim(s, 1, 12, Options{})
	if text := s.Coverage.Explain(); text != "" {
		t.Errorf("after %d runs more: %q, want nothing", s.Runs-runs, text)
	}
}
