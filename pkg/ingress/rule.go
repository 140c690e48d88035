package ingress

import "regexp"

// Rule is one compiled ingress rule.
type Rule struct {
	Hostname string // as configured; empty or "*" matches every host
	Punycode string // the host name's second form, empty when there is none
	Path     string // the regular expression's text, empty when there is none
	Service  Service
	Origin   OriginRequest

	path *regexp.Regexp
}

// Set is an immutable list of compiled rules with the settings that belong to no rule.
type Set struct {
	Rules         []Rule        // the last one matches every request
	OriginRequest OriginRequest // top-level values over the built-in defaults
	WarpRouting   WarpRouting

	internal []Rule
	warnings []string
	index    index
}
