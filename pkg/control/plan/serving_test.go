package plan

import (
	"slices"
	"testing"

	"github.com/culvert-tunnel/culvert/pkg/fleet"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

func TestServing(t *testing.T) {
	serves := func(id tunnel.WorkerID, tunnels ...byte) fleet.Worker {
		w := fleet.Worker{ID: id}
		for _, n := range tunnels {
			w.Tunnels = append(w.Tunnels, fleet.TunnelRef{ID: tunnel.ID{n}})
		}
		return w
	}
	got := NewServing([]fleet.Worker{serves("a", 1, 2), serves("b"), serves("c", 2, 2, 3)})
	for n, want := range map[byte][]tunnel.WorkerID{1: {"a"}, 2: {"a", "c"}, 3: {"c"}, 4: nil} {
		if !slices.Equal(got[tunnel.ID{n}], want) {
			t.Errorf("tunnel %d: %v, want %v", n, got[tunnel.ID{n}], want)
		}
	}
}
