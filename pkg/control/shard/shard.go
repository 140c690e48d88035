package shard

import (
	"hash/fnv"
	"slices"

	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

// Count is the number of shards. All supervisors of a deployment must have the same number.
const Count = 64

// Of is the shard of a tunnel, from 0 to Count-1.
func Of(t tunnel.ID) int {
	h := fnv.New32a()
	_, _ = h.Write(t[:])
	return int(h.Sum32() % Count)
}

// Owners says which member each shard belongs to; empty strings if there is no member. It depends on the names alone, not on their order.
// Each shard goes to the member with the highest score for it (rendezvous hashing) that has not got its even share yet, so shares differ
// by at most a shard or so, and a member that comes or goes moves few shards of the others.
func Owners(members []string) [Count]string {
	var out [Count]string
	names := slices.Clone(members)
	slices.Sort(names)
	names = slices.Compact(names)
	if len(names) == 0 {
		return out
	}
	// The first places are free to all, the last one only to as many members as there are shards left over.
	room, extra := Count/len(names), Count%len(names)
	held := make([]int, len(names))
	for i := range out {
		best, most := -1, uint64(0)
		for n, name := range names {
			if held[n] > room || held[n] == room && extra == 0 {
				continue
			}
			if s := score(name, i); best < 0 || s > most {
				best, most = n, s
			}
		}
		if held[best] == room {
			extra--
		}
		held[best]++
		out[i] = names[best]
	}
	return out
}

// Owned counts the shards of one member.
func Owned(owners [Count]string, member string) int {
	n := 0
	for _, o := range owners {
		if o == member {
			n++
		}
	}
	return n
}

// score is a number that looks random for each pair of a name and a shard.
func score(name string, i int) uint64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(name))
	_, _ = h.Write([]byte{0, byte(i)})
	x := h.Sum64()
	x ^= x >> 33
	x *= 0xff51afd7ed558ccd // the finaliser of MurmurHash3: FNV alone leaves the last byte's mark in few bits
	x ^= x >> 33
	x *= 0xc4ceb9fe1a85ec53
	x ^= x >> 33
	return x
}
