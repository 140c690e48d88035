package ratelimit

import (
	"net/netip"
	"time"

	"golang.org/x/time/rate"
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

// Limiter counts responses by network.
type Limiter struct {
	perSecond int
	// recent and older are generations: when recent is full it replaces older, whose networks are forgotten.
	recent, older map[netip.Prefix]*state
}

// state is what is known of one network.
type state struct {
	limiter *rate.Limiter
	// over counts the responses beyond the rate since the last one within it.
	over int
}

// New makes a limiter of responses per second and network, with bursts of the number for two seconds.
func New(perSecond int) *Limiter {
	return &Limiter{perSecond: perSecond, recent: make(map[netip.Prefix]*state)}
}

// Decide counts a response to addr.
func (l *Limiter) Decide(addr netip.Addr, now time.Time) Decision {
	s := l.stateOf(network(addr))
	if s.limiter.AllowN(now, 1) {
		s.over = 0
		return Send
	}
	if s.over++; s.over%slip == 0 {
		return Truncate
	}
	return Drop
}

func (l *Limiter) stateOf(n netip.Prefix) *state {
	if s := l.recent[n]; s != nil {
		return s
	}
	if len(l.recent) >= maxNetworks {
		l.recent, l.older = make(map[netip.Prefix]*state), l.recent
	}
	s := l.older[n]
	if s == nil {
		s = &state{limiter: rate.NewLimiter(rate.Limit(l.perSecond), 2*l.perSecond)}
	}
	l.recent[n] = s
	return s
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
