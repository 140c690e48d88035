package ratelimit

import (
	"net/netip"
	"time"
)

const (
	// bits4 and bits6 are the prefix lengths of a network: usual sizes for one operator.
	bits4 = 24
	bits6 = 56
	// slip says that every slip-th response beyond the rate is sent truncated; the others are dropped.
	slip = 2
	// maxNetworks bounds each of the two generations of networks.
	maxNetworks = 32768
)

// Decision says how a response is sent.
type Decision uint8

// The decisions.
const (
	Send Decision = iota
	Truncate
	Drop
)

// Limiter counts responses by network. Each network has a bucket of tokens that fills with the rate.
type Limiter struct {
	rate, burst float64
	// recent and older are generations: when recent is full it replaces older, whose networks are forgotten.
	recent, older map[netip.Prefix]*bucket
}

type bucket struct {
	tokens float64
	at     time.Time
	over   int
}

// New makes a limiter of rate responses per second and network, with bursts of the number for two seconds.
func New(rate int) *Limiter {
	return &Limiter{rate: float64(rate), burst: 2 * float64(rate), recent: make(map[netip.Prefix]*bucket)}
}

// Decide counts a response to addr.
func (l *Limiter) Decide(addr netip.Addr, now time.Time) Decision {
	b := l.bucket(network(addr), now)
	b.tokens = min(l.burst, b.tokens+max(0, now.Sub(b.at).Seconds())*l.rate)
	b.at = now
	if b.tokens >= 1 {
		b.tokens--
		b.over = 0
		return Send
	}
	if b.over++; b.over%slip == 0 {
		return Truncate
	}
	return Drop
}

func (l *Limiter) bucket(n netip.Prefix, now time.Time) *bucket {
	if b := l.recent[n]; b != nil {
		return b
	}
	if len(l.recent) >= maxNetworks {
		l.recent, l.older = make(map[netip.Prefix]*bucket), l.recent
	}
	b := l.older[n]
	if b == nil {
		b = &bucket{tokens: l.burst, at: now}
	}
	l.recent[n] = b
	return b
}

func network(a netip.Addr) netip.Prefix {
	a = a.Unmap().WithZone("")
	bits := bits6
	if a.Is4() {
		bits = bits4
	}
	p, err := a.Prefix(bits)
	if err != nil {
		return netip.Prefix{}
	}
	return p
}
