package shard

import (
	"fmt"
	"slices"
	"testing"

	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

func names(n int) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = fmt.Sprintf("supervisor-%d/%016x", i, i*7919)
	}
	return out
}

// TestOf: the shard of a tunnel never changes: supervisors of all versions must agree. Shards get about the same number of tunnels.
func TestOf(t *testing.T) {
	for id, want := range map[tunnel.ID]int{{}: 5, {1}: 4, {0: 1, 15: 1}: 23, {0: 0xff, 15: 0xff}: 51} {
		if got := Of(id); got != want {
			t.Errorf("Of(%v) = %d, want %d", id, got, want)
		}
	}
	var count [Count]int
	for i := range 64_000 {
		count[Of(tunnel.ID{0: byte(i), 1: byte(i >> 8), 9: byte(i >> 3)})]++
	}
	if low, high := slices.Min(count[:]), slices.Max(count[:]); low < 800 || high > 1200 {
		t.Errorf("shards have %d to %d of 64000 tunnels, want about 1000", low, high)
	}
}

// TestOwners: every shard has an owner among the members, whatever their order, and shares differ by one shard at most.
func TestOwners(t *testing.T) {
	if got := Owners(nil); got != [Count]string{} {
		t.Errorf("owners without members: %v", got)
	}
	for n := 1; n <= Count+6; n++ {
		members := names(n)
		owners := Owners(members)
		slices.Reverse(members)
		if Owners(append(members, members[0])) != owners {
			t.Fatalf("%d members: the owners depend on the order of the members, or on a name that comes twice", n)
		}
		least, most := Count, 0
		for _, m := range members {
			k := Owned(owners, m)
			least, most = min(least, k), max(most, k)
		}
		if most-least > 1 || slices.Contains(owners[:], "") {
			t.Errorf("%d members have %d to %d shards: %v", n, least, most, owners)
		}
	}
}

// TestOwnersStay: when a member comes or goes, most shards stay where they are.
func TestOwnersStay(t *testing.T) {
	for n := 2; n <= 12; n++ {
		few, many := Owners(names(n-1)), Owners(names(n))
		moved := 0
		for i := range few {
			if few[i] != many[i] {
				moved++
			}
		}
		// What the member gets has to move; as much again may, since the others must end with even shares.
		if most := 2*Count/n + 4; moved > most {
			t.Errorf("from %d to %d members %d shards move, want at most %d", n-1, n, moved, most)
		}
	}
}
