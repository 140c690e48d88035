package router

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/culvert-tunnel/culvert/pkg/ingress"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
	"github.com/culvert-tunnel/culvert/services/proxy/internal/faultgate"
	"github.com/culvert-tunnel/culvert/services/proxy/internal/origin"
)

// Route is a rule with its origin.
type Route struct {
	Index  int
	Rule   *ingress.Rule
	Origin *origin.Origin
	// Guarded says that the rule demands an access token.
	Guarded bool
	// Faults thins out the log lines of this route.
	Faults faultgate.Gate
}

// Snapshot is one version of the table. It never changes.
type Snapshot struct {
	Set    *ingress.Set
	routes []Route
	pool   map[key]*origin.Origin
	// owner is the tunnel that the rules belong to; nil are local rules, which apply to all.
	owner *tunnel.ID
	// guarded says that some rule demands an access token.
	guarded bool
}

// Match finds the route for a request: host as received, path percent-decoded. It returns nil for the hosts of the
// management service, which belong to no rule of the operator.
func (s *Snapshot) Match(host, path string) *Route {
	_, i := s.Set.Match(host, path)
	if i < 0 || i >= len(s.routes) {
		return nil
	}
	return &s.routes[i]
}

// Ambiguous reports whether the origin could resolve the path so that another rule would apply, while one of the two rules
// demands an access token (docs/spec/ingress.md D2).
func (s *Snapshot) Ambiguous(host, path string, r *Route) bool {
	return s.guarded && s.Set.Conflicts(host, path, r.Index)
}

// Serves reports whether the rules apply to a tunnel: local rules do to all, pushed ones to their own tunnel alone.
func (s *Snapshot) Serves(id tunnel.ID) bool { return s.owner == nil || *s.owner == id }

// Routes gives the routes in the order of the rules.
func (s *Snapshot) Routes() []Route { return s.routes }

// Opener makes origins; *opener.Opener is one.
type Opener interface {
	// ReadCA reads the CA file that a service needs, if any.
	ReadCA(svc ingress.Service, set ingress.OriginRequest) ([]byte, error)
	// Open makes the origin of a service with its effective settings and the content of its CA file.
	Open(svc ingress.Service, set ingress.OriginRequest, ca []byte) (*origin.Origin, error)
}

// Table holds the current Snapshot.
type Table struct {
	// Faults thins out the log lines about flows without a route.
	Faults faultgate.Gate

	opener  Opener
	hosts   []string   // of the management service
	swap    sync.Mutex // held by Swap, so that two swaps do not lose each other's origins
	current atomic.Pointer[Snapshot]
}

// StartError says that the service of a rule cannot be served.
type StartError struct {
	Rule int
	Err  error
}

// Error names the rule.
func (e *StartError) Error() string { return fmt.Sprintf("ingress rule %d: %v", e.Rule, e.Err) }

// Unwrap gives the cause.
func (e *StartError) Unwrap() error { return e.Err }

// New makes a table that serves set with the origins that opener makes. Requests for managementHosts match no rule, also after a
// Swap.
func New(set *ingress.Set, opener Opener, managementHosts ...string) (*Table, error) {
	t := &Table{opener: opener, hosts: managementHosts}
	if err := t.swapFor(nil, set); err != nil {
		return nil, err
	}
	return t, nil
}

// ErrOtherTunnel says that the rules in force belong to another tunnel.
var ErrOtherTunnel = errors.New("this proxy has the rules of another tunnel")

// For is the snapshot for a new flow of a tunnel, or ErrOtherTunnel.
func (t *Table) For(id tunnel.ID) (*Snapshot, error) {
	s := t.current.Load()
	if !s.Serves(id) {
		return nil, ErrOtherTunnel
	}
	return s, nil
}

// Current is the snapshot in force, whatever tunnel it belongs to.
func (t *Table) Current() *Snapshot { return t.current.Load() }

// Swap makes set the live one, for the flows of its tunnel alone. On an error everything stays as it was.
func (t *Table) Swap(owner tunnel.ID, set *ingress.Set) error { return t.swapFor(&owner, set) }

// swapFor is Swap; without an owner the rules apply to all tunnels.
func (t *Table) swapFor(owner *tunnel.ID, set *ingress.Set) error {
	t.swap.Lock()
	defer t.swap.Unlock()
	old := t.current.Load()
	if len(t.hosts) > 0 {
		set = set.WithInternal(t.hosts...)
	}
	next := &Snapshot{Set: set, owner: owner, routes: make([]Route, len(set.Rules)), pool: make(map[key]*origin.Origin, len(set.Rules))}
	for i := range set.Rules {
		rule := &set.Rules[i]
		o, err := next.origin(old, rule, t.opener)
		if err != nil {
			next.closeExcept(old)
			return &StartError{Rule: i, Err: err}
		}
		guarded := rule.Origin.Access.Required
		next.routes[i].Index, next.routes[i].Rule = i, rule
		next.routes[i].Origin, next.routes[i].Guarded = o, guarded
		next.guarded = next.guarded || guarded
	}
	t.current.Store(next)
	if old != nil {
		old.closeExcept(next)
	}
	return nil
}

// Close ends the idle connections of all origins.
func (t *Table) Close() { t.Current().closeExcept(nil) }

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

// closeExcept closes the origins that keep does not have.
func (s *Snapshot) closeExcept(keep *Snapshot) {
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
	settings string
	caSum    [sha256.Size]byte // a CA file replaced in place is another setting
}

func keyOf(rule *ingress.Rule, ca []byte) key {
	set := rule.Origin
	set.Access = ingress.Access{} // not the origin's business
	return key{service: rule.Service.Text(), settings: fmt.Sprintf("%+v", set), caSum: sha256.Sum256(ca)}
}
