package discovered

import (
	"cmp"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/culvert-tunnel/culvert/pkg/ingress"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

// Route is a rule that a provider found.
type Route struct {
	// Tunnel is the tunnel that it serves; the zero one stands for all that have no rules of their own.
	Tunnel tunnel.ID
	// From says where it was found, such as the name of a container; Key is what to mend there, such as a label.
	From, Key string
	// Priority goes before all else in the order of routes: the highest first.
	Priority int
	// Spec is the rule. The same rule from several places, but for its service, is one rule with several origins.
	Spec ingress.RuleSpec
}

// Same reports whether two routes are the same.
func (r Route) Same(other Route) bool { return reflect.DeepEqual(r, other) }

// Fault says what keeps something from being used, or should be looked at.
type Fault struct {
	// From and Key are those of the route.
	From, Key string
	Text      string
	// Used says that it is used all the same.
	Used bool
}

// Rules are the rules of a proxy: general ones for every tunnel without rules of its own.
type Rules struct {
	General *ingress.Set
	Tunnels map[tunnel.ID]*ingress.Set
}

// Merged are rules with the routes among them.
type Merged struct {
	Rules
	Faults []Fault
	// added has the routes of each rule that was added, with the tunnel of its set and its position there.
	added map[place][]int
}

type place struct {
	tunnel tunnel.ID
	rule   int
}

// Routes gives the positions, in the list that Merge was given, of the routes that the rule of a tunnel was made of: none for a rule of the
// operator.
func (m Merged) Routes(id tunnel.ID, rule int) []int { return m.added[place{id, rule}] }

// Merge adds the routes to the rules. Those of a tunnel are added to the rules of that tunnel, or where it has none to a copy of the
// general ones with all that was found for them.
func Merge(base Rules, routes []Route) Merged {
	m := Merged{Rules: Rules{General: base.General, Tunnels: map[tunnel.ID]*ingress.Set{}}, added: map[place][]int{}}
	for id, set := range base.Tunnels {
		m.Tunnels[id] = set
	}
	byTunnel := map[tunnel.ID][]int{}
	for i := range routes {
		byTunnel[routes[i].Tunnel] = append(byTunnel[routes[i].Tunnel], i)
	}
	general := byTunnel[tunnel.ID{}]
	m.General = m.add(tunnel.ID{}, base.General, routes, general, true)
	for id, own := range byTunnel {
		if id == (tunnel.ID{}) {
			continue
		}
		set, has := base.Tunnels[id]
		if !has {
			set, own = base.General, append(slices.Clone(general), own...)
		}
		m.Tunnels[id] = m.add(id, set, routes, own, has)
	}
	slices.SortFunc(m.Faults, func(a, b Fault) int {
		return cmp.Or(cmp.Compare(a.From, b.From), cmp.Compare(a.Key, b.Key), cmp.Compare(a.Text, b.Text))
	})
	m.Faults = slices.Compact(m.Faults)
	return m
}

// add adds the routes with the given positions to one set.
func (m *Merged) add(id tunnel.ID, set *ingress.Set, routes []Route, use []int, whole bool) *ingress.Set {
	if len(use) == 0 {
		return set
	}
	groups := m.group(routes, use)
	specs := make([]ingress.RuleSpec, len(groups))
	for i, g := range groups {
		specs[i] = g.spec
	}
	out, results := set.With(specs)
	at := len(set.Rules) - 1
	for i, r := range results {
		for _, n := range groups[i].routes {
			report := func(text string, used bool) {
				if whole || routes[n].Tunnel == id { // what is general is reported once
					m.Faults = append(m.Faults, Fault{From: routes[n].From, Key: routes[n].Key, Text: text, Used: used})
				}
			}
			if r.Err != nil {
				report(r.Err.Error(), false)
			}
			for _, w := range r.Warnings {
				report(w, true)
			}
		}
		if r.Err == nil {
			m.added[place{id, at}] = groups[i].routes
			at++
		}
	}
	return out
}

// group is one rule, and the routes that it is made of.
type group struct {
	first    *Route
	spec     ingress.RuleSpec
	services []string
	routes   []int
}

// group makes one rule of routes that differ by their service only, in the order in which rules are looked at.
func (m *Merged) group(routes []Route, use []int) []*group {
	var all []*group
	byMatch := map[string]*group{}
	for _, n := range use {
		r := &routes[n]
		match := ""
		if r.Spec.Match != nil {
			match = fmt.Sprintf("%+v", *r.Spec.Match)
		}
		key := fmt.Sprintf("%s\n%q\n%s", strings.ToLower(r.Spec.Hostname), r.Spec.Path, match)
		g := byMatch[key]
		if g == nil {
			g = &group{first: r, spec: r.Spec, services: []string{r.Spec.Service}, routes: []int{n}}
			byMatch[key] = g
			all = append(all, g)
			continue
		}
		if text := g.join(r); text != "" {
			m.Faults = append(m.Faults, Fault{From: r.From, Key: r.Key, Text: text})
			continue
		}
		g.routes = append(g.routes, n)
	}
	for _, g := range all {
		g.finish()
	}
	slices.SortStableFunc(all, func(a, b *group) int { return order(a.first, b.first) })
	return all
}

// join adds the service of a route with the same hostname, path and conditions, or says why it cannot.
func (g *group) join(r *Route) string {
	a, b := g.first.Spec, r.Spec
	a.Service, b.Service, a.Hostname, b.Hostname = "", "", "", ""
	if !reflect.DeepEqual(a, b) || g.first.Priority != r.Priority || scheme(g.first.Spec.Service) != scheme(r.Spec.Service) {
		return fmt.Sprintf("%s has other settings for the same hostname and path, and came first", g.first.From)
	}
	if slices.Contains(g.services, r.Spec.Service) {
		return ""
	}
	if len(g.services) == ingress.MaxServices {
		return fmt.Sprintf("%d others serve the same hostname and path already", ingress.MaxServices)
	}
	g.services = append(g.services, r.Spec.Service)
	return ""
}

func scheme(service string) string {
	name, _, _ := strings.Cut(service, ":")
	return name
}

// finish makes the rule: several services are its origins, in an order that does not depend on who came first.
func (g *group) finish() {
	if balanced := g.spec.Balance != nil && strings.Contains(g.services[0], "://"); len(g.services) == 1 && !balanced {
		g.spec.Balance = nil
		return
	}
	slices.Sort(g.services)
	g.spec.Service, g.spec.Services = "", nil
	for _, s := range g.services {
		g.spec.Services = append(g.spec.Services, ingress.ServiceSpec{Service: s})
	}
}

// order is the order of rules that were found: the highest priority, the most exact hostname, conditions before none, the longest path,
// then the name of the place, so that it does not depend on the order in which they were found.
func order(a, b *Route) int {
	return cmp.Or(
		cmp.Compare(b.Priority, a.Priority),
		cmp.Compare(wild(a.Spec.Hostname), wild(b.Spec.Hostname)),
		cmp.Compare(len(b.Spec.Hostname), len(a.Spec.Hostname)),
		cmp.Compare(a.Spec.Hostname, b.Spec.Hostname),
		cmp.Compare(len(b.Spec.Path), len(a.Spec.Path)),
		cmp.Compare(unconditional(a), unconditional(b)),
		cmp.Compare(a.Spec.Path, b.Spec.Path),
		cmp.Compare(a.From, b.From),
		cmp.Compare(a.Key, b.Key),
	)
}

// wild is 1 for a wildcard and 0 for a name.
func wild(hostname string) int {
	if strings.HasPrefix(hostname, "*") {
		return 1
	}
	return 0
}

// unconditional is 1 for a route that takes every request of its hostname and path, and 0 for others.
func unconditional(r *Route) int {
	if r.Spec.Match == nil {
		return 1
	}
	return 0
}
