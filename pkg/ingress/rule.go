package ingress

import (
	"regexp"
	"slices"
)

// Rule is one compiled ingress rule.
type Rule struct {
	Hostname string // as configured; empty or "*" matches every host
	Punycode string // the host name's second form, empty when there is none
	Path     string // the regular expression's text, empty when there is none
	Service  Service
	Origin   OriginRequest
	Targets  []Target // the origins of a rule with several; Service is the first of them then
	Balance  Balance  // how requests are spread over Targets
	Actions  *Actions // nil for a rule without
	Pushed   bool     // the rule comes from the edge, and not from the operator of this host
	Closed   string   // why the rule refuses every request: its actions or conditions are malformed; empty for all others

	path       *regexp.Regexp
	conditions *conditions // nil for a rule without
}

// MatchPath reports whether the rule matches the percent-decoded path; a rule without an expression matches every path.
func (r *Rule) MatchPath(path string) bool { return r.path == nil || r.path.MatchString(path) }

// Text shows the rule as the "ingress rule" command prints it.
func (r *Rule) Text() string {
	text := ""
	if r.Hostname != "" {
		text += "\thostname: " + r.Hostname + "\n"
	}
	if r.Path != "" {
		text += "\tpath: " + r.Path + "\n"
	}
	return text + "\tservice: " + r.Service.Text()
}

// Set is an immutable list of compiled rules with the settings that belong to no rule.
type Set struct {
	Rules         []Rule        // the last one matches every request
	OriginRequest OriginRequest // top-level values over the built-in defaults
	WarpRouting   WarpRouting

	internal []Rule
	warnings []string
	index    index
	guarded  bool // some rule demands an access token
	// conditional says that some rule looks at more than host and path.
	conditional bool
	// source is what a local set was made from; nil for a pushed one.
	source *Document
}

// Warnings lists what validation accepts but an operator should look at: rules that can never be chosen, protection that
// comes from the top level.
func (s *Set) Warnings() []string { return slices.Clone(s.warnings) }

// WithInternal returns a copy of the set with rules for the host names, which come before all others. The management
// service serves them. An empty name is skipped.
func (s *Set) WithInternal(hostnames ...string) *Set {
	c := *s
	c.internal = make([]Rule, 0, len(hostnames))
	for _, h := range hostnames {
		if name, _ := canonicalHost(h); name != "" {
			c.internal = append(c.internal, Rule{Hostname: name, Service: Service{Kind: KindManagement}, Origin: DefaultOriginRequest()})
		}
	}
	return &c
}
