package actions

import (
	"container/list"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/culvert-tunnel/culvert/pkg/ingress"
)

const (
	// maxClients is the number of visitors that are counted apart. Beyond it the one that was silent for longest makes room.
	maxClients = 8192
	// clientBits is how much of an IPv6 address is one visitor: an ordinary connection has a /64.
	clientBits = 64
)

// Verdict is what a limit says about a request.
type Verdict uint8

// The verdicts.
const (
	Pass Verdict = iota
	TooMany
	TooFast
)

// counter is one limit in force.
type counter struct {
	limit    ingress.Limit
	inFlight int
	bucket   *rate.Limiter // nil without a rate
}

func newCounter(l ingress.Limit) *counter {
	c := &counter{limit: l}
	if l.Rate > 0 {
		c.bucket = rate.NewLimiter(rate.Limit(l.Rate), l.Burst)
	}
	return c
}

// check says whether one more request is possible, without counting it.
func (c *counter) check(now time.Time) Verdict {
	switch {
	case c.limit.InFlight > 0 && c.inFlight >= c.limit.InFlight:
		return TooMany
	case c.bucket != nil && c.bucket.TokensAt(now) < 1:
		return TooFast
	}
	return Pass
}

func (c *counter) take(now time.Time) {
	c.inFlight++
	if c.bucket != nil {
		c.bucket.AllowN(now, 1) // check has found a token
	}
}

// client is the counter of one visitor in the table.
type client struct {
	*counter
	addr netip.Addr
}

// Limiter holds the limits of a rule.
type Limiter struct {
	limits ingress.Limits

	mu      sync.Mutex // guards the rest
	all     *counter
	clients map[netip.Addr]*list.Element // of *client
	recent  *list.List                   // the last one used is in front
}

// NewLimiter makes a limiter, or nil if there are no limits.
func NewLimiter(l ingress.Limits) *Limiter {
	if l == (ingress.Limits{}) {
		return nil
	}
	return &Limiter{limits: l, all: newCounter(l.All), clients: map[netip.Addr]*list.Element{}, recent: list.New()}
}

// Enter counts a request of a visitor. When it passes, the caller calls leave at its end. A visitor whose address is not known shares its
// limits with all such visitors.
func (l *Limiter) Enter(addr netip.Addr, now time.Time) (v Verdict, leave func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if v := l.all.check(now); v != Pass {
		return v, nil
	}
	var c *client
	if l.limits.Each != (ingress.Limit{}) {
		c = l.clientLocked(addr)
		if v := c.check(now); v != Pass {
			return v, nil
		}
		c.take(now)
	}
	l.all.take(now)
	return Pass, func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.all.inFlight--
		if c != nil {
			c.inFlight--
		}
	}
}

// oneVisitor makes one of all addresses that count as one visitor.
func oneVisitor(addr netip.Addr) netip.Addr {
	if addr.Is6() {
		if p, err := addr.Prefix(clientBits); err == nil {
			return p.Addr()
		}
	}
	return addr
}

func (l *Limiter) clientLocked(addr netip.Addr) *client {
	addr = oneVisitor(addr)
	if e, ok := l.clients[addr]; ok {
		l.recent.MoveToFront(e)
		return e.Value.(*client) //nolint:forcetypeassert // the list holds nothing else
	}
	if l.recent.Len() >= maxClients {
		oldest := l.recent.Back()
		delete(l.clients, oldest.Value.(*client).addr) //nolint:forcetypeassert // the list holds nothing else
		l.recent.Remove(oldest)
	}
	c := &client{newCounter(l.limits.Each), addr}
	l.clients[addr] = l.recent.PushFront(c)
	return c
}
