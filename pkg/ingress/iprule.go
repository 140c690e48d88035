package ingress

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

const (
	maxPort    = 65535
	mappedBits = 96 // the bits before the IPv4 address in an IPv4-mapped one
)

// IPRule allows or denies destinations (docs/spec/ingress.md 10). The zero value is what a malformed entry becomes on a service
// that uses no rules: it contains no address.
type IPRule struct {
	Prefix netip.Prefix // masked; never IPv4-mapped
	Ports  []int        // ascending; empty means all
	Allow  bool
}

// Policy is an ordered list of rules: the first that contains the destination decides.
type Policy struct {
	Rules        []IPRule
	DefaultAllow bool // what happens to a destination that no rule contains
}

// Decide says whether a destination is allowed, and by which rule; the rule is nil when none contains it. An IPv4-mapped
// address counts as the IPv4 address.
func (p Policy) Decide(addr netip.Addr, port int) (bool, *IPRule) {
	addr = addr.Unmap().WithZone("")
	for i := range p.Rules {
		r := &p.Rules[i]
		if !r.Prefix.Contains(addr) {
			continue
		}
		if len(r.Ports) > 0 {
			if _, found := slices.BinarySearch(r.Ports, port); !found {
				continue
			}
		}
		return r.Allow, r
	}
	return p.DefaultAllow, nil
}

// ErrDenied says that IP rules do not let a flow go to its destination.
var ErrDenied = errors.New("destination denied by ip rules")

// Allow gives an error that wraps ErrDenied unless the rules contain the destination and allow it. No rules at all allow
// everything.
func Allow(rules []IPRule, dst netip.AddrPort) error {
	if len(rules) == 0 {
		return nil
	}
	allowed, rule := Policy{Rules: rules}.Decide(dst.Addr(), int(dst.Port()))
	switch {
	case allowed:
		return nil
	case rule != nil:
		return fmt.Errorf("%w: %s by %s", ErrDenied, dst, rule.Text())
	}
	return fmt.Errorf("%w: %s is in none of them", ErrDenied, dst)
}

// Text is the form that logs show.
func (r IPRule) Text() string {
	ports := "all"
	if len(r.Ports) > 0 {
		ports = fmt.Sprint(r.Ports)
	}
	return "prefix:" + r.prefixText() + "/port:" + ports + "/allow:" + strconv.FormatBool(r.Allow)
}

// prefixText is the text of the prefix in reports. A blank entry shows "<nil>", as in the reference.
func (r IPRule) prefixText() string {
	if !r.Prefix.IsValid() {
		return "<nil>"
	}
	return r.Prefix.String()
}

// ParseIPRule validates one entry of ipRules.
func ParseIPRule(spec IPRuleSpec) (IPRule, error) {
	if spec.Prefix == nil || *spec.Prefix == "" {
		return IPRule{}, errors.New("no prefix provided")
	}
	prefix, ok := parsePrefix(*spec.Prefix)
	if !ok {
		return IPRule{}, fmt.Errorf("unable to parse cidr: %s", *spec.Prefix)
	}
	for _, port := range spec.Ports {
		if port < 1 || port > maxPort {
			return IPRule{}, fmt.Errorf("invalid port %d, needs to be between 1 and 65535", port)
		}
	}
	return IPRule{Prefix: prefix, Ports: slices.Sorted(slices.Values(spec.Ports)), Allow: spec.Allow}, nil
}

// parsePrefix accepts an address, a slash and a decimal length. Host bits are cleared; an IPv4-mapped prefix that covers
// IPv4 addresses only becomes their prefix.
func parsePrefix(s string) (netip.Prefix, bool) {
	text, length, found := strings.Cut(s, "/")
	if !found || length == "" || strings.Trim(length, "0123456789") != "" {
		return netip.Prefix{}, false
	}
	addr, err := netip.ParseAddr(text)
	if err != nil || addr.Zone() != "" {
		return netip.Prefix{}, false
	}
	bits, err := strconv.Atoi(length)
	if err != nil || bits > addr.BitLen() {
		return netip.Prefix{}, false
	}
	if addr.Is4In6() && bits >= mappedBits {
		addr, bits = addr.Unmap(), bits-mappedBits
	}
	return netip.PrefixFrom(addr, bits).Masked(), true
}

// compileIPRules validates every entry. On a malformed one it returns the entries before it and a last entry that contains
// no address: the list is not empty then, so a policy denies every destination that the entries before do not allow.
func compileIPRules(specs []IPRuleSpec) ([]IPRule, error) {
	if len(specs) == 0 {
		return nil, nil
	}
	rules := make([]IPRule, len(specs))
	for i, spec := range specs {
		rule, err := ParseIPRule(spec)
		if err != nil {
			return rules[:i+1], err
		}
		rules[i] = rule
	}
	return rules, nil
}
