package decide

import (
	"math"
	"math/bits"
)

// Most is the largest number of origins that Choose looks at.
const Most = 64

// Policy is how an origin is chosen among the ones that may be used.
type Policy uint8

// The policies.
const (
	RoundRobin    Policy = iota + 1 // one after another, by weight
	LeastInFlight                   // the fewest requests in progress, by weight
	RandomTwo                       // the one with fewer requests in progress of two random ones
	Hash                            // the same key always finds the same origin, while that can be used
)

// scale is the number of shares that an origin of weight 1 has at the end of its slow start.
const scale = 100

// Candidate is what a choice knows of an origin.
type Candidate struct {
	ID       uint64 // hash of its name, for Hash
	Weight   int    // at least 1
	Backup   bool   // used only if no other can be
	Usable   bool   // healthy and not ejected
	InFlight int64  // attempts in progress
	Share    float64
}

// shares is the weight with the slow start in it, at least 1.
func (c *Candidate) shares() int { return max(1, int(math.Round(float64(c.Weight)*scale*c.Share))) }

// load is the number of attempts for each share, this one included.
func (c *Candidate) load() float64 { return float64(c.InFlight+1) / float64(c.shares()) }

// Input is what a choice depends on besides the candidates.
type Input struct {
	Policy Policy
	// Panic is the part of the origins that are no backups, in percent, which must be usable. If fewer are, all are used: the few could not
	// carry the load of all.
	Panic int
	// Tried is the set of candidates, by bit, that had an attempt of the same request.
	Tried uint64
	// Round grows by one with each request, Random is a random number, Key the hash of what Hash goes by.
	Round, Random, Key uint64
}

// Choose gives the index of the origin for the next attempt, and whether health was ignored. ok is false when every one was tried.
func Choose(in Input, all []Candidate) (index int, panicking, ok bool) {
	pool, panicking := eligible(in, all)
	if pool == 0 {
		return 0, panicking, false
	}
	switch in.Policy {
	case LeastInFlight:
		return least(pool, all, in.Round), panicking, true
	case RandomTwo:
		a := weighted(pool, all, in.Random&math.MaxUint32)
		b := weighted(pool, all, in.Random>>32)
		if all[b].load() < all[a].load() {
			a = b
		}
		return a, panicking, true
	case Hash:
		return rendezvous(pool, all, in.Key), panicking, true
	case RoundRobin:
	}
	return weighted(pool, all, in.Round), panicking, true
}

// eligible is the set of candidates that may be chosen.
func eligible(in Input, all []Candidate) (pool uint64, panicking bool) {
	var primaries, usable, backups uint64
	for i := range min(len(all), Most) {
		bit := uint64(1) << i
		switch c := &all[i]; {
		case c.Backup && c.Usable:
			backups |= bit
		case c.Backup:
		case c.Usable:
			usable |= bit
			primaries |= bit
		default:
			primaries |= bit
		}
	}
	enough := usable != 0 && bits.OnesCount64(usable)*100 >= in.Panic*bits.OnesCount64(primaries)
	if !enough {
		usable |= backups
	}
	if enough || backups != 0 {
		if usable &^= in.Tried; usable != 0 {
			return usable, false
		}
		backups &^= in.Tried
		if backups != 0 {
			return backups, false
		}
	}
	// Too few can be used, or all of those were tried. To try the others is better than to refuse.
	return primaries &^ in.Tried, true
}

// weighted gives the candidate at a position of the cycle in which each has as many places as it has shares. Neighbouring positions are
// spread over the cycle, so that no candidate gets its places in a row.
func weighted(pool uint64, all []Candidate, position uint64) int {
	total, equal, first := 0, true, -1
	for p := pool; p != 0; p &= p - 1 {
		i := bits.TrailingZeros64(p)
		s := all[i].shares()
		total += s
		if first < 0 {
			first = s
		}
		equal = equal && s == first
	}
	if equal {
		return nth(pool, int(position%uint64(bits.OnesCount64(pool))))
	}
	at := int(position % uint64(total) * stride(uint64(total)) % uint64(total))
	for p := pool; ; p &= p - 1 {
		i := bits.TrailingZeros64(p)
		if at -= all[i].shares(); at < 0 {
			return i
		}
	}
}

// stride is coprime to n and near to n divided by the golden ratio, so that multiples of it are spread evenly.
func stride(n uint64) uint64 {
	const golden = 0.618034
	s := max(1, uint64(float64(n)*golden))
	for gcd(s, n) != 1 {
		s++
	}
	return s
}

func gcd(a, b uint64) uint64 {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}

// nth is the index of the n-th set bit.
func nth(pool uint64, n int) int {
	for ; n > 0; n-- {
		pool &= pool - 1
	}
	return bits.TrailingZeros64(pool)
}

// least is the candidate with the least load. Equal ones take turns.
func least(pool uint64, all []Candidate, round uint64) int {
	best, ties := math.Inf(1), uint64(0)
	for p := pool; p != 0; p &= p - 1 {
		i := bits.TrailingZeros64(p)
		switch l := all[i].load(); {
		case l < best:
			best, ties = l, 1<<i
		case l == best:
			ties |= 1 << i
		}
	}
	return nth(ties, int(round%uint64(bits.OnesCount64(ties))))
}

// rendezvous is the candidate with the highest score for the key (weighted rendezvous hashing): when one falls out, only its own keys go
// elsewhere.
func rendezvous(pool uint64, all []Candidate, key uint64) int {
	best, index := math.Inf(-1), 0
	for p := pool; p != 0; p &= p - 1 {
		i := bits.TrailingZeros64(p)
		unit := (float64(mix(key^all[i].ID)>>11) + 0.5) / (1 << 53)
		if score := -float64(all[i].Weight) / math.Log(unit); score > best {
			best, index = score, i
		}
	}
	return index
}

// mix is the finalizer of SplitMix64.
func mix(x uint64) uint64 {
	x ^= x >> 30
	x *= 0xbf58476d1ce4e5b9
	x ^= x >> 27
	x *= 0x94d049bb133111eb
	return x ^ x>>31
}
