package router

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/culvert-tunnel/culvert/pkg/ingress"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
	"github.com/culvert-tunnel/culvert/services/proxy/internal/actions"
	"github.com/culvert-tunnel/culvert/services/proxy/internal/faultgate"
	"github.com/culvert-tunnel/culvert/services/proxy/internal/limit"
	"github.com/culvert-tunnel/culvert/services/proxy/internal/origin"
)

// Route is a rule with its origin.
type Route struct {
	Index  int
	Rule   *ingress.Rule
	Origin *origin.Origin
	// Origins choose among the origins of a rule with several, of which Origin is the first; nil for a rule with one.
	Origins origin.Chooser
	// Actions are what the rule does besides; nil for a rule without.
	Actions *actions.Actions
	// Guard checks the access token that the rule demands; nil for a rule that demands none.
	Guard origin.Guard
	// Faults thins out the log lines of this route.
	Faults faultgate.Gate
	// Running counts its requests and streams.
	Running limit.Count
}

// Snapshot is one version of the rules of a tunnel, or of the default rules. It never changes.
type Snapshot struct {
	Set    *ingress.Set
	routes []Route
	pool   map[key]*origin.Origin
	// guarded says that some rule lets only some visitors through.
	guarded bool
}

// Wanting is how many rules have requests at a second, or had some recently.
func (s *Snapshot) Wanting(second int64) (n int64) {
	for i := range s.routes {
		if s.routes[i].Running.Wants(second) {
			n++
		}
	}
	return n
}

// Match finds the route for a request. It returns nil for the hosts of the
// management service, which belong to no rule of the operator.
func (s *Snapshot) Match(r *ingress.Request) *Route {
	_, i := s.Set.MatchRequest(r)
	if i < 0 || i >= len(s.routes) {
		return nil
	}
	return &s.routes[i]
}

// Ambiguous reports whether the origin could resolve the path so that another rule would apply, while one of the two rules
// demands an access token (docs/spec/ingress.md D2).
func (s *Snapshot) Ambiguous(q *ingress.Request, r *Route) bool {
	return s.guarded && s.Set.Conflicts(q, r.Index)
}

// Routes gives the routes in the order of the rules.
func (s *Snapshot) Routes() []Route { return s.routes }

// Opener makes origins; *opener.Opener is one.
type Opener interface {
	// ReadCA reads the CA file that a service needs, if any.
	ReadCA(svc ingress.Service, set ingress.OriginRequest) ([]byte, error)
	// Open makes the origin of a service with its effective settings and the content of its CA file.
	Open(svc ingress.Service, set ingress.OriginRequest, ca []byte) (*origin.Origin, error)
	// Allow judges the files that a rule gives to visitors.
	Allow(rule *ingress.Rule) error
	// Group makes what chooses among the origins of a rule with several.
	Group(rule *ingress.Rule) (origin.Chooser, error)
	// Guard makes what checks the access tokens for a rule that demands them.
	Guard(a ingress.Access) origin.Guard
}

// Table holds the snapshots in force: one for each tunnel with rules of its own, and the default one for all other tunnels.
type Table struct {
	// Faults thins out the log lines about flows without a route.
	Faults faultgate.Gate

	opener  Opener
	hosts   []string // of the management service
	general slot

	// mu serializes swaps, so that two do not lose each other's origins. The map is copied when a tunnel comes or goes: readers take
	// no lock.
	mu      sync.Mutex
	tunnels atomic.Pointer[map[tunnel.ID]*slot]
}

// slot holds the snapshot of one tunnel, or the default one.
type slot struct{ current atomic.Pointer[Snapshot] }

// StartError says that the service of a rule cannot be served.
type StartError struct {
	// Tunnel is the tunnel of the rules, the zero one for the default rules.
	Tunnel tunnel.ID
	Rule   int
	Err    error
}

// Error names the rule.
func (e *StartError) Error() string { return fmt.Sprintf("ingress rule %d: %v", e.Rule, e.Err) }

// Unwrap gives the cause.
func (e *StartError) Unwrap() error { return e.Err }

// New makes a table whose default rules are set, with the origins that opener makes. Requests for managementHosts match no rule,
// also after a swap.
func New(set *ingress.Set, opener Opener, managementHosts ...string) (*Table, error) {
	t := &Table{opener: opener, hosts: managementHosts}
	t.tunnels.Store(&map[tunnel.ID]*slot{})
	if err := t.SwapDefault(set); err != nil {
		return nil, err
	}
	return t, nil
}

// For is the snapshot for a new flow of a tunnel: that of the tunnel, else the default one. It is never nil, takes no lock and
// allocates nothing.
func (t *Table) For(id tunnel.ID) *Snapshot {
	if s := (*t.tunnels.Load())[id]; s != nil {
		return s.current.Load()
	}
	return t.general.current.Load()
}

// Default is the snapshot for tunnels without rules of their own.
func (t *Table) Default() *Snapshot { return t.general.current.Load() }

// Own lists the tunnels with rules of their own, in no order.
func (t *Table) Own() []tunnel.ID { return slices.Collect(maps.Keys(*t.tunnels.Load())) }

// SwapDefault makes set the default rules. On an error everything stays as it was.
func (t *Table) SwapDefault(set *ingress.Set) error { return t.SwapAll(Changes{Default: set}) }

// Swap makes set the rules of one tunnel, and changes nothing for all others. On an error everything stays as it was.
func (t *Table) Swap(id tunnel.ID, set *ingress.Set) error {
	return t.SwapAll(Changes{Tunnels: map[tunnel.ID]*ingress.Set{id: set}})
}

// Changes are rules to put in force together.
type Changes struct {
	// Default replaces the default rules, unless it is nil.
	Default *ingress.Set
	// Tunnels replace the rules of these tunnels; nil takes them away, so that the default ones serve the tunnel.
	Tunnels map[tunnel.ID]*ingress.Set
}

// SwapAll makes all changes. On an error, a *StartError, everything stays as it was.
func (t *Table) SwapAll(c Changes) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	var done []change
	prepare := func(id tunnel.ID, s *slot, set *ingress.Set) error {
		next, err := s.prepare(t.opener, t.internal(set))
		if err != nil {
			if start, is := errors.AsType[*StartError](err); is {
				start.Tunnel = id
			}
			for _, other := range done {
				other.next.closeExcept(other.slot.current.Load())
			}
			return err
		}
		done = append(done, change{s, next})
		return nil
	}
	if c.Default != nil {
		if err := prepare(tunnel.ID{}, &t.general, c.Default); err != nil {
			return err
		}
	}
	next := *t.tunnels.Load()
	if t.changesTunnels(c) {
		next = maps.Clone(next) // readers use the former one
	}
	var removed []*slot
	for id, set := range c.Tunnels {
		s := next[id]
		if set == nil {
			if s != nil {
				delete(next, id)
				removed = append(removed, s)
			}
			continue
		}
		if s == nil {
			s = &slot{}
			next[id] = s
		}
		if err := prepare(id, s, set); err != nil {
			return err
		}
	}
	for _, d := range done {
		d.slot.put(d.next)
	}
	t.tunnels.Store(&next)
	for _, s := range removed {
		s.close()
	}
	return nil
}

// changesTunnels reports whether a tunnel gets its first rules, or loses its last ones.
func (t *Table) changesTunnels(c Changes) bool {
	now := *t.tunnels.Load()
	for id, set := range c.Tunnels {
		if _, has := now[id]; has != (set != nil) {
			return true
		}
	}
	return false
}

// change is a snapshot that is ready for its slot.
type change struct {
	slot *slot
	next *Snapshot
}

// Close ends the idle connections of all origins.
func (t *Table) Close() {
	t.general.close()
	for _, s := range *t.tunnels.Load() {
		s.close()
	}
}

// internal puts the rules of the management service before those of set.
func (t *Table) internal(set *ingress.Set) *ingress.Set {
	if len(t.hosts) == 0 {
		return set
	}
	return set.WithInternal(t.hosts...)
}

// prepare makes the next snapshot of a slot, with the origins of unchanged services. The caller holds Table.mu.
func (s *slot) prepare(opener Opener, set *ingress.Set) (*Snapshot, error) {
	old := s.current.Load()
	next := &Snapshot{Set: set, routes: make([]Route, len(set.Rules)), pool: make(map[key]*origin.Origin, len(set.Rules))}
	for i := range set.Rules {
		rule := &set.Rules[i]
		err := opener.Allow(rule)
		var o *origin.Origin
		if err == nil {
			o, err = next.origin(old, rule, opener)
		}
		if err != nil {
			next.closeExcept(old)
			return nil, &StartError{Rule: i, Err: err}
		}
		next.routes[i].Index, next.routes[i].Rule, next.routes[i].Origin = i, rule, o
		next.routes[i].Actions = actions.New(rule.Actions)
		if len(rule.Targets) > 0 {
			if next.routes[i].Origins, err = opener.Group(rule); err != nil {
				next.closeExcept(old)
				return nil, &StartError{Rule: i, Err: err}
			}
		}
		if rule.Origin.Access.Required {
			next.routes[i].Guard = opener.Guard(rule.Origin.Access)
		}
		next.guarded = next.guarded || rule.Guarded()
	}
	return next, nil
}

// put makes next the snapshot in force.
func (s *slot) put(next *Snapshot) {
	if old := s.current.Swap(next); old != nil {
		old.closeExcept(next)
	}
}

func (s *slot) close() { s.current.Load().closeExcept(nil) }

// origin gives the origin of a rule: one of this snapshot or of the old one with the same service and settings, or a
// new one.
func (s *Snapshot) origin(old *Snapshot, rule *ingress.Rule, opener Opener) (*origin.Origin, error) {
	ca, err := opener.ReadCA(rule.Service, rule.Origin)
	if err != nil {
		return nil, err
	}
	k := keyOf(rule, ca)
	if o, ok := s.pool[k]; ok {
		return o, nil
	}
	if old != nil {
		if o, ok := old.pool[k]; ok {
			s.pool[k] = o
			return o, nil
		}
	}
	o, err := opener.Open(rule.Service, rule.Origin, ca)
	if err != nil {
		return nil, err
	}
	s.pool[k] = o
	return o, nil
}

// closeExcept closes the origins that keep does not have. The groups of keep have their own hold of what both use.
func (s *Snapshot) closeExcept(keep *Snapshot) {
	for i := range s.routes {
		if g := s.routes[i].Origins; g != nil {
			g.Close()
		}
	}
	for k, o := range s.pool {
		if keep != nil {
			if _, ok := keep.pool[k]; ok {
				continue
			}
		}
		o.Close()
	}
}

// key tells apart services that must not share an origin.
type key struct {
	service  string
	listing  bool
	settings string
	caSum    [sha256.Size]byte // a CA file replaced in place is another setting
}

func keyOf(rule *ingress.Rule, ca []byte) key {
	set := rule.Origin
	set.Access = ingress.Access{} // not the origin's business
	return key{service: rule.Service.Text(), listing: rule.Service.Listing, settings: fmt.Sprintf("%+v", set), caSum: sha256.Sum256(ca)}
}
