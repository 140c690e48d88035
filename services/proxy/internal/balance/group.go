package balance

import (
	"context"
	"fmt"
	"hash/fnv"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/ingress"
	"github.com/culvert-tunnel/culvert/pkg/logkey"
	"github.com/culvert-tunnel/culvert/services/proxy/internal/balance/decide"
	"github.com/culvert-tunnel/culvert/services/proxy/internal/origin"
)

// lookupTimeout bounds the lookups of the addresses of all origins of a rule, since a change of the rules waits for them.
const lookupTimeout = 5 * time.Second

// place is a member in a group.
type place struct {
	*member
	key    string
	weight int
	backup bool
}

// Group is the origins of one rule. It implements origin.Chooser.
type Group struct {
	hub      *Hub
	targets  []ingress.Target
	balance  ingress.Balance
	policy   decide.Policy
	settings string
	open     Open
	places   atomic.Pointer[[]place]
	round    atomic.Uint64
	stop     context.CancelFunc
	done     chan struct{}

	mu     sync.Mutex // guards budget
	budget decide.Budget
}

var _ origin.Chooser = (*Group)(nil)

// Group makes the group of a rule. settings identifies everything about its origins that is not in the rule's targets and balance: members
// are shared only with groups that have the same.
func (h *Hub) Group(rule *ingress.Rule, settings string, open Open) (*Group, error) {
	b := rule.Balance
	g := &Group{
		hub: h, targets: rule.Targets, balance: b, policy: policyOf(b.Policy), open: open, budget: decide.NewBudget(), done: make(chan struct{}),
		settings: fmt.Sprintf("%s %+v %d %s", settings, b.Check, b.Failures, b.Eject),
	}
	if b.Check != nil {
		g.settings += fmt.Sprintf(" %+v", *b.Check)
	}
	ctx, stop := context.WithCancel(context.Background())
	g.stop = stop
	addrs := g.resolveAll(ctx, nil)
	places, err := g.assemble(addrs)
	if err != nil {
		stop()
		return nil, err
	}
	g.places.Store(&places)
	go g.keepResolving(ctx, addrs)
	return g, nil
}

func policyOf(p ingress.BalancePolicy) decide.Policy {
	switch p {
	case ingress.BalanceLeastInFlight:
		return decide.LeastInFlight
	case ingress.BalanceRandomTwo:
		return decide.RandomTwo
	case ingress.BalanceHash:
		return decide.Hash
	case ingress.BalanceRoundRobin:
	}
	return decide.RoundRobin
}

// Close stops the lookups and releases the members.
func (g *Group) Close() {
	g.stop()
	<-g.done
	for _, p := range *g.places.Load() {
		g.hub.release(p.key)
	}
}

// assemble acquires the members for the addresses of each target. Without an address a target has one member that dials its name.
func (g *Group) assemble(addrs [][]netip.Addr) ([]place, error) {
	var out []place
	for i, t := range g.targets {
		each := addrs[i]
		if len(each) == 0 {
			each = []netip.Addr{{}}
		}
		for _, a := range each {
			if len(out) == decide.Most {
				break
			}
			p, err := g.place(t, a)
			if err != nil {
				for _, p := range out {
					g.hub.release(p.key)
				}
				return nil, err
			}
			out = append(out, p)
		}
	}
	return out, nil
}

func (g *Group) place(t ingress.Target, addr netip.Addr) (place, error) {
	address := ""
	if addr.IsValid() {
		address = addr.String()
	}
	key := t.Service.Text() + " " + address + " " + g.settings
	m, err := g.hub.acquire(key, func() (*member, error) {
		o, err := g.open(t.Service, addr)
		if err != nil {
			return nil, err
		}
		return newMember(g.hub, o, t.Service.String(), address, &g.balance), nil
	})
	return place{m, key, t.Weight, t.Backup}, err
}

// resolveAll looks up the names of all targets at the same time, of which a rule has at most 64. A name that cannot be looked up keeps the
// addresses that it had.
func (g *Group) resolveAll(ctx context.Context, old [][]netip.Addr) [][]netip.Addr {
	out := make([][]netip.Addr, len(g.targets))
	if g.balance.Resolve == 0 {
		return out
	}
	within, cancel := context.WithTimeout(ctx, lookupTimeout)
	defer cancel()
	var lookups sync.WaitGroup
	for i, t := range g.targets {
		if t.Service.URL == nil {
			continue
		}
		host := t.Service.URL.Hostname()
		if _, err := netip.ParseAddr(host); err == nil {
			continue
		}
		lookups.Go(func() {
			found, err := g.resolve(within, host)
			if len(found) > 0 {
				out[i] = found
				return
			}
			if old != nil {
				out[i] = old[i]
			}
			if ctx.Err() == nil {
				g.hub.log.WarnContext(ctx, "origin lookup failed", slog.String(logkey.Host, host), slog.Any(logkey.Err, err))
			}
		})
	}
	lookups.Wait()
	return out
}

// resolve looks up one name. The addresses are sorted and differ.
func (g *Group) resolve(ctx context.Context, host string) ([]netip.Addr, error) {
	found, err := g.hub.lookup(ctx, host)
	if err != nil {
		return nil, err
	}
	for i := range found {
		found[i] = found[i].Unmap()
	}
	slices.SortFunc(found, netip.Addr.Compare)
	return slices.Compact(found), nil
}

// keepResolving looks names up again until ctx ends. addrs are the addresses at the start.
func (g *Group) keepResolving(ctx context.Context, addrs [][]netip.Addr) {
	defer close(g.done)
	if g.balance.Resolve == 0 {
		return
	}
	tick := time.NewTicker(g.balance.Resolve)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		addrs = g.resolveAll(ctx, addrs)
		if ctx.Err() != nil {
			return
		}
		places, err := g.assemble(addrs) //nolint:contextcheck // members outlive the group if others use them
		if err != nil {
			g.hub.log.WarnContext(ctx, "origin lookup failed", slog.Any(logkey.Err, err))
			continue
		}
		old := *g.places.Swap(&places)
		for _, p := range old { // those that both have are kept by their second reference
			g.hub.release(p.key)
		}
	}
}

// States describes the members in the order of the rule.
func (g *Group) States() []origin.State {
	places := *g.places.Load()
	out := make([]origin.State, len(places))
	for i, p := range places {
		out[i] = origin.State{
			Service: p.service, Address: p.address, State: p.state(), Weight: p.weight, Backup: p.backup, InFlight: p.inFlight.Load(),
		}
		if r := p.reason.Load(); r != nil && out[i].State == stateDown {
			out[i].Reason = *r
		}
	}
	return out
}

// key is the hash of what the policy goes by.
func (g *Group) key(a origin.Ask) uint64 {
	if g.policy != decide.Hash {
		return 0
	}
	text := a.Client
	switch by := g.balance.HashBy; {
	case by.Header != "":
		text = a.Header.Get(by.Header)
	case by.Cookie != "":
		text = ""
		if c, err := (&http.Request{Header: a.Header}).Cookie(by.Cookie); err == nil {
			text = c.Value
		}
	}
	sum := fnv.New64a()
	_, _ = sum.Write([]byte(text)) // never fails
	return sum.Sum64()
}

// Begin starts the attempts of one request.
func (g *Group) Begin(a origin.Ask) origin.Attempts {
	g.mu.Lock()
	g.budget.Request(g.balance.Budget)
	g.mu.Unlock()
	return &attempts{
		g: g, places: *g.places.Load(), safe: a.Safe,
		in: decide.Input{
			Policy: g.policy, Panic: g.balance.Panic, Round: g.round.Add(1) - 1, Random: rand.Uint64(), Key: g.key(a), //nolint:gosec // no secret
		},
	}
}
