package limit

import (
	"errors"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

// Errors of Requests.Acquire and Place.EnterRule.
var (
	// ErrFull says that the proxy has as many requests and streams as it accepts.
	ErrFull = errors.New("too many requests at a time")
	// ErrTunnelFull says that a tunnel has as many as it may have while others want places, too.
	ErrTunnelFull = errors.New("too many requests of this tunnel at a time")
	// ErrRuleFull says that a rule has as many as it may have while other rules want places, too.
	ErrRuleFull = errors.New("too many requests of this rule at a time")
)

const (
	// recent is how long a tunnel or rule counts as one that wants places after its last request: one that is quick has none in progress
	// most of the time.
	recent = time.Minute
	// countFor is how long a count of the tunnels is used.
	countFor = 100 * time.Millisecond
)

// Use is how many requests and streams run, with a new one about which Admit decides.
type Use struct {
	// Total is the number of all, and Max its limit; 0 is no limit.
	Total, Max int64
	// Own is the number of the tunnel, and PerTunnel its limit; 0 is no limit.
	Own, PerTunnel int64
	// Tunnels is the number of tunnels that want places.
	Tunnels int64
	// Rule is the number of the rule, and Rules how many rules of the tunnel want places.
	Rule, Rules int64
}

// crowded says that the last quarter of some places has begun, which is shared fairly.
func crowded(most, now int64) bool { return most > 0 && now > most-most/4 }

// Admit returns nil when the new one may run, else ErrFull or ErrTunnelFull. The last quarter of the places is shared fairly: there, a
// tunnel gets no further place while it has its equal share or more. So a tunnel whose origin is slow may use three quarters of the
// places while nobody else wants them, and never keeps another tunnel from its share of the rest.
func Admit(u Use) error {
	switch {
	case u.Max != 0 && u.Total > u.Max:
		return ErrFull
	case u.PerTunnel != 0 && u.Own > u.PerTunnel:
		return ErrTunnelFull
	case u.Tunnels > 1 && crowded(u.Max, u.Total) && u.Own > max(u.Max/u.Tunnels, 1):
		return ErrTunnelFull
	}
	return nil
}

// AdmitRule is Admit for the rule of a request that has a place: the last quarter of the tunnel's places, and of all, is shared fairly
// among the rules of a tunnel, too. So a rule whose origin does not respond leaves places to the others.
func AdmitRule(u Use) error {
	share := func(places, users int64) int64 { return max(places/max(users, 1), 1) }
	switch {
	case u.Rules <= 1:
		return nil
	case crowded(u.PerTunnel, u.Own) && u.Rule > share(u.PerTunnel, u.Rules),
		crowded(u.Max, u.Total) && u.Rule > share(share(u.Max, u.Tunnels), u.Rules):
		return ErrRuleFull
	}
	return nil
}

// Count is what a tunnel or a rule has. The zero Count is ready for use.
type Count struct {
	running atomic.Int64
	last    atomic.Int64 // when it last got a request, in seconds since an unknown time; 0 is never
}

// enter counts a request at a second.
func (c *Count) enter(second int64) int64 {
	if c.last.Load() != second {
		c.last.Store(second)
	}
	return c.running.Add(1)
}

// Wants reports whether it has requests, or had one recently.
func (c *Count) Wants(second int64) bool {
	last := c.last.Load()
	return c.running.Load() > 0 || last != 0 && second-last <= int64(recent/time.Second)
}

// Rules are those of a tunnel.
type Rules interface {
	// Wanting is how many of them want places at a second, by Count.Wants.
	Wanting(second int64) int64
}

// Requests counts the running requests and streams of a proxy and of each of its tunnels.
type Requests struct {
	max, perTunnel int64
	total          atomic.Int64
	began          time.Time

	// mu serializes additions to counts, which are copied on each: a request takes no lock. A tunnel stays there, so that its counter can
	// be used without one.
	mu     sync.Mutex
	counts atomic.Pointer[map[tunnel.ID]*Count]

	// tunnels was the number of tunnels that want places when it was last counted, at countedAt since began.
	tunnels, countedAt atomic.Int64
}

// NewRequests makes a counter with the limits of Use.
func NewRequests(most, perTunnel int) *Requests {
	r := &Requests{max: int64(most), perTunnel: int64(perTunnel), began: time.Now()}
	r.counts.Store(&map[tunnel.ID]*Count{})
	return r
}

// Place is the place of one request or stream.
type Place struct {
	requests *Requests
	own      *Count
	rule     *Count // nil before EnterRule
	at       time.Duration
	// tight says that the last quarter of some places had begun.
	tight bool
}

// second is the time of a place in seconds, never 0.
func (p *Place) second() int64 { return int64(p.at/time.Second) + 1 }

// Acquire takes a place for a request or stream of a tunnel that came at the time now. Without an error the caller releases it at the end.
func (r *Requests) Acquire(id tunnel.ID, now time.Time) (Place, error) {
	p := Place{requests: r, own: r.count(id), at: now.Sub(r.began)}
	u := Use{Max: r.max, PerTunnel: r.perTunnel, Total: r.total.Add(1), Own: p.own.enter(p.second())}
	if crowded(u.Max, u.Total) {
		u.Tunnels, p.tight = r.wanting(p.at), true
	}
	p.tight = p.tight || crowded(u.PerTunnel, u.Own)
	if err := Admit(u); err != nil {
		p.Release()
		return Place{}, err
	}
	return p, nil
}

// EnterRule counts the request for its rule, one of rules, and refuses it with ErrRuleFull. Then it gives the place back at once: to send
// the refusal may take long.
func (p *Place) EnterRule(rule *Count, rules Rules) error {
	p.rule = rule
	running := rule.enter(p.second())
	if !p.tight {
		return nil
	}
	r := p.requests
	u := Use{Max: r.max, PerTunnel: r.perTunnel, Total: r.total.Load(), Own: p.own.running.Load(), Rule: running}
	u.Tunnels, u.Rules = r.wanting(p.at), rules.Wanting(p.second())
	err := AdmitRule(u)
	if err != nil {
		p.Release()
	}
	return err
}

// Release gives the place back, and that of the rule. Only the first call counts.
func (p *Place) Release() {
	if p.requests == nil {
		return
	}
	if p.rule != nil {
		p.rule.running.Add(-1)
	}
	p.own.running.Add(-1)
	p.requests.total.Add(-1)
	p.requests = nil
}

// wanting is the number of tunnels that want places.
func (r *Requests) wanting(at time.Duration) int64 {
	if n := r.tunnels.Load(); n > 1 && at-time.Duration(r.countedAt.Load()) < countFor {
		return n
	}
	var n int64
	for _, c := range *r.counts.Load() {
		if c.Wants(int64(at/time.Second) + 1) {
			n++
		}
	}
	r.tunnels.Store(n)
	r.countedAt.Store(int64(at))
	return n
}

func (r *Requests) count(id tunnel.ID) *Count {
	if c := (*r.counts.Load())[id]; c != nil {
		return c
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if c := (*r.counts.Load())[id]; c != nil { // another request was quicker
		return c
	}
	next := maps.Clone(*r.counts.Load())
	next[id] = &Count{}
	r.counts.Store(&next)
	return next[id]
}
