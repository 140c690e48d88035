package ingress

import "strings"

// Conflicts reports whether the path, once dot segments and double slashes are collapsed, selects another rule than the matched
// one while one of the two lets only some visitors through. Such a request gets status 400 and is never forwarded: the origin may resolve
// the path that we must not change, and so serve what the token protects (docs/spec/ingress.md 4.3, 14 D2). r and
// matched are the argument and the index of MatchRequest. Without a protected rule it costs one comparison.
func (s *Set) Conflicts(r *Request, matched int) bool {
	if !s.guarded || matched < 0 || !needsCollapse(r.Path) {
		return false
	}
	name, absolute := canonicalHost(cutPort(r.Host))
	for _, merge := range []bool{true, false} {
		other := s.matchUser(name, absolute, collapse(r.Path, merge), r)
		if other != matched && (s.Rules[other].Guarded() || s.Rules[matched].Guarded()) {
			return true
		}
	}
	return false
}

// Guarded reports whether the rule lets only some visitors through: by token, password or address, or none at all.
func (r *Rule) Guarded() bool {
	a := r.Actions
	return r.Origin.Access.Required || r.Closed != "" || a != nil && (a.Users != nil || len(a.IPRules) > 0)
}

func anyGuarded(rules []Rule) bool {
	for i := range rules {
		if rules[i].Guarded() {
			return true
		}
	}
	return false
}

func needsCollapse(path string) bool {
	return strings.Contains(path, "//") || strings.Contains(path, "/./") || strings.Contains(path, "/../") ||
		strings.HasSuffix(path, "/.") || strings.HasSuffix(path, "/..")
}

// collapse removes dot segments as RFC 3986 5.2.4 does. Origins differ in whether they merge double slashes before it, which
// changes what ".." removes; merge says which of the two is meant.
func collapse(path string, merge bool) string {
	if !strings.HasPrefix(path, "/") {
		return path
	}
	segments := strings.Split(path[1:], "/")
	out := make([]string, 0, len(segments))
	for i, seg := range segments {
		last := i == len(segments)-1
		switch {
		case seg == "." || (seg == "" && merge):
			if last {
				out = append(out, "")
			}
		case seg == "..":
			out = out[:max(0, len(out)-1)]
			if last {
				out = append(out, "")
			}
		default:
			out = append(out, seg)
		}
	}
	return "/" + strings.Join(out, "/")
}
