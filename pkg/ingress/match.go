package ingress

import "strings"

// index finds the candidates for a host without walking all rules. Every list is in rule order.
type index struct {
	exact     map[string][]int // canonical host
	suffix    map[string][]int // canonical suffix of a wildcard, with its leading dot
	every     []int            // rules for any host
	maxSuffix int
}

func buildIndex(rules []Rule) index {
	x := index{exact: map[string][]int{}, suffix: map[string][]int{}}
	for i := range rules {
		h := rules[i].Hostname
		if matchesAnyHost(h) {
			x.every = append(x.every, i)
			continue
		}
		name, wildcard := canonicalPattern(h)
		if wildcard {
			x.suffix[name] = append(x.suffix[name], i)
			x.maxSuffix = max(x.maxSuffix, len(name))
			continue
		}
		x.exact[name] = append(x.exact[name], i)
	}
	return x
}

// canonicalPattern gives the canonical host of a rule, or for "*.rest" the suffix ".rest". The bare "*." keeps its dot: it
// stands for every host that ends with one.
func canonicalPattern(hostname string) (name string, wildcard bool) {
	rest, wildcard := strings.CutPrefix(hostname, "*.")
	name, _ = canonicalHost(rest)
	if wildcard {
		return "." + name, true
	}
	return name, false
}

// Match is MatchRequest for a plain GET. host is as received, path percent-decoded and without query.
func (s *Set) Match(host, path string) (*Rule, int) { return s.MatchRequest(Get(host, path)) }

// MatchRequest finds the rule for a request. The index counts user rules from 0; internal rules have -1, -2 and so on
// (docs/spec/ingress.md 4). The first rule of the list that fits wins. Hosts are compared without regard to case, one trailing dot and the
// two spellings of an international name.
func (s *Set) MatchRequest(r *Request) (*Rule, int) {
	name, absolute := canonicalHost(cutPort(r.Host))
	for i := range s.internal {
		if s.internal[i].Hostname == name {
			return &s.internal[i], -1 - i
		}
	}
	best := s.matchUser(name, absolute, r.Path, r)
	return &s.Rules[best], best
}

// matchUser finds a rule for a path, which may be another one than that of the request. It starts from the last rule, which matches
// everything, and looks for an earlier match in each list of candidates.
func (s *Set) matchUser(name string, absolute bool, path string, r *Request) int {
	best := len(s.Rules) - 1
	best = s.firstOf(s.index.exact[name], path, best, r)
	best = s.firstOf(s.index.every, path, best, r)
	if len(s.index.suffix) == 0 {
		return best
	}
	for i := max(0, len(name)-s.index.maxSuffix); i < len(name); i++ {
		if name[i] == '.' {
			best = s.firstOf(s.index.suffix[name[i:]], path, best, r)
		}
	}
	if absolute {
		best = s.firstOf(s.index.suffix["."], path, best, r)
	}
	return best
}

// firstOf gives the first candidate before best that takes the path, or best.
func (s *Set) firstOf(candidates []int, path string, best int, r *Request) int {
	for _, i := range candidates {
		if i >= best {
			break
		}
		if rule := &s.Rules[i]; rule.MatchPath(path) && rule.Meets(r) {
			return i
		}
	}
	return best
}
