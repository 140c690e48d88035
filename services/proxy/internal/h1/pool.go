package h1

import (
	"slices"
	"sync"
	"time"
)

const (
	// defaultPerHost is the number of idle connections per host when no number is set (docs/spec/ingress.md 2.4).
	defaultPerHost = 2
	// sweepEvery is how often idle connections are looked at. It is how long an origin that closes an idle connection
	// waits for our side of it, and how late an idle timeout can be.
	sweepEvery = time.Second
)

// pool keeps idle connections. The one used last is used next, so that surplus ones grow old and go.
type pool struct {
	total   int           // 0: no limit
	perHost int           // negative: keep none
	timeout time.Duration // 0: never

	mu      sync.Mutex         // guards the rest
	hosts   map[string][]*conn // each with the longest idle first
	count   int
	shut    bool // closed; the next request opens it again
	timer   *time.Timer
	ticking bool
}

func newPool(total, perHost int, timeout time.Duration) *pool {
	if perHost == 0 {
		perHost = defaultPerHost
	}
	return &pool{total: total, perHost: perHost, timeout: timeout, hosts: make(map[string][]*conn)}
}

// get takes an idle connection that is fit for use, or returns nil. Each one is checked first: bytes that came while it was
// idle are no response to anything (a 408 before a close, or bytes planted by an attacker), and a closed one would cost a
// request that cannot be repeated. That look is one system call of well under a microsecond, so there is no time below which
// it is left out.
func (p *pool) get(key string) *conn {
	now := time.Now()
	for {
		c, old := p.pop(key, now)
		if c == nil {
			return nil
		}
		if !old && c.isIdle() {
			c.reused = true
			return c
		}
		c.close()
	}
}

func (p *pool) pop(key string, now time.Time) (c *conn, old bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.shut = false
	list := p.hosts[key]
	if len(list) == 0 {
		return nil, false
	}
	c = list[len(list)-1]
	p.removeLocked(c, len(list)-1)
	return c, p.isOldLocked(c, now)
}

func (p *pool) isOldLocked(c *conn, now time.Time) bool {
	return p.timeout > 0 && now.Sub(c.since) >= p.timeout
}

// removeLocked takes the connection at index i out of its host's list.
func (p *pool) removeLocked(c *conn, i int) {
	p.hosts[c.key] = slices.Delete(p.hosts[c.key], i, i+1)
	c.turn++
	p.count--
}

// put makes a connection idle, or closes it.
func (p *pool) put(c *conn) {
	if surplus := p.push(c); surplus != nil {
		surplus.close()
	}
}

// push gives back the connection that there is no room for.
func (p *pool) push(c *conn) (surplus *conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if c.raw == nil || p.shut || len(p.hosts[c.key]) >= p.perHost {
		return c
	}
	c.since = time.Now()
	p.hosts[c.key] = append(p.hosts[c.key], c)
	p.count++
	if p.total > 0 && p.count > p.total {
		surplus = p.oldestLocked()
		p.removeLocked(surplus, 0)
	}
	p.tickLocked()
	return surplus
}

// oldestLocked returns the connection that has been idle for longest. The pool must not be empty.
func (p *pool) oldestLocked() (c *conn) {
	for _, list := range p.hosts {
		if len(list) > 0 && (c == nil || list[0].since.Before(c.since)) {
			c = list[0]
		}
	}
	return c
}

// tickLocked makes sure that a sweep comes.
func (p *pool) tickLocked() {
	if p.ticking {
		return
	}
	p.ticking = true
	every := sweepEvery
	if p.timeout > 0 {
		every = min(every, p.timeout)
	}
	if p.timer == nil {
		p.timer = time.AfterFunc(every, p.sweep)
	} else {
		p.timer.Reset(every)
	}
}

// waiting is an idle connection as a sweep found it.
type waiting struct {
	c    *conn
	turn uint64
	dead bool
}

// sweep closes what is idle for too long and what the peer has closed or written to, as nothing else reads an idle
// connection. The timer's goroutine runs it.
func (p *pool) sweep() {
	now := time.Now()
	found := p.snapshot(now)
	for i := range found {
		w := &found[i]
		w.dead = w.dead || !w.c.seemsIdle() // without the lock; a request may have taken it
	}
	for _, c := range p.drop(found) {
		c.close()
	}
}

func (p *pool) snapshot(now time.Time) (found []waiting) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, list := range p.hosts {
		for _, c := range list {
			found = append(found, waiting{c: c, turn: c.turn, dead: p.isOldLocked(c, now)})
		}
	}
	return found
}

// drop takes out the dead ones that have not been used since they were found, and goes on ticking while any are left.
func (p *pool) drop(found []waiting) (dropped []*conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, w := range found {
		if !w.dead || w.c.turn != w.turn {
			continue
		}
		p.removeLocked(w.c, slices.Index(p.hosts[w.c.key], w.c))
		dropped = append(dropped, w.c)
	}
	p.forgetLocked()
	p.ticking = false
	if p.count > 0 {
		p.tickLocked()
	}
	return dropped
}

// forgetLocked deletes hosts without connections.
func (p *pool) forgetLocked() {
	for key, list := range p.hosts {
		if len(list) == 0 {
			delete(p.hosts, key)
		}
	}
}

// close closes all idle connections, and those of running exchanges as they end, until the next request.
func (p *pool) close() {
	p.mu.Lock()
	p.shut = true
	var all []*conn
	for _, list := range p.hosts {
		all = append(all, list...)
	}
	for _, c := range all {
		c.turn++
	}
	clear(p.hosts)
	p.count = 0
	if p.timer != nil && p.timer.Stop() {
		p.ticking = false
	}
	p.mu.Unlock()
	for _, c := range all {
		c.close()
	}
}
