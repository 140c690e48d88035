package ingress

import (
	"fmt"

	"github.com/culvert-tunnel/culvert/pkg/wire/proxyproto"
)

// apply overrides the settings in o with the keys that are present. ipRules and access are not merged here: their validation
// depends on the service.
func (s *OriginSpec) apply(o *OriginRequest) {
	override(&o.ConnectTimeout, s.ConnectTimeout)
	override(&o.TLSTimeout, s.TLSTimeout)
	override(&o.TCPKeepAlive, s.TCPKeepAlive)
	override(&o.NoHappyEyeballs, s.NoHappyEyeballs)
	override(&o.KeepAliveConnections, s.KeepAliveConnections)
	override(&o.KeepAliveTimeout, s.KeepAliveTimeout)
	override(&o.HTTPHostHeader, s.HTTPHostHeader)
	override(&o.OriginServerName, s.OriginServerName)
	override(&o.MatchSNIToHost, s.MatchSNIToHost)
	override(&o.CAPool, s.CAPool)
	override(&o.NoTLSVerify, s.NoTLSVerify)
	override(&o.DisableChunkedEncoding, s.DisableChunkedEncoding)
	override(&o.HTTP2Origin, s.HTTP2Origin)
	override(&o.BastionMode, s.BastionMode)
	override(&o.ProxyAddress, s.ProxyAddress)
	override(&o.ProxyPort, s.ProxyPort)
	override(&o.ProxyType, s.ProxyType)
	override(&o.ResponseHeaderTimeout, s.ResponseHeaderTimeout)
	if s.ProxyProtocol != nil {
		o.ProxyProtocol, _ = proxyproto.ParseVersion(*s.ProxyProtocol) // compileRule reports the error
	}
	if o.ProxyType != proxyTypeSocks {
		o.ProxyType = ""
	}
	if s.Access != nil {
		o.Access = Access(*s.Access)
	}
}

func override[T any](dst, src *T) {
	if src != nil {
		*dst = *src
	}
}

// topLevel is the built-in defaults under the document's own originRequest. A malformed ipRules entry is dropped here; a
// service that uses the rules refuses it (policyRules).
func topLevel(spec *OriginSpec) OriginRequest {
	o := DefaultOriginRequest()
	spec.apply(&o)
	for _, entry := range spec.IPRules {
		if rule, err := ParseIPRule(entry); err == nil {
			o.IPRules = append(o.IPRules, rule)
		}
	}
	return o
}

// ownRules are a rule's own ipRules where nothing uses them: a malformed entry becomes a blank one in reports.
func ownRules(specs []IPRuleSpec) []IPRule {
	rules := make([]IPRule, len(specs))
	for i, entry := range specs {
		if rule, err := ParseIPRule(entry); err == nil {
			rules[i] = rule
		}
	}
	return rules
}

// checkProxyProtocol returns an error for a text that names no version.
func checkProxyProtocol(text *string) error {
	if text == nil {
		return nil
	}
	if _, err := proxyproto.ParseVersion(*text); err != nil {
		return fmt.Errorf("proxyProtocol %q: %w", *text, err)
	}
	return nil
}

// setWarpRouting resolves the warp-routing object. The reference does not know its ipRules and proxyProtocol, so a malformed
// value is a warning. After a malformed rule every destination that the rules before it do not allow is denied.
func (s *Set) setWarpRouting(spec *WarpSpec) {
	w := defaultWarpRouting()
	override(&w.ConnectTimeout, spec.ConnectTimeout)
	override(&w.TCPKeepAlive, spec.TCPKeepAlive)
	override(&w.MaxActiveFlows, spec.MaxActiveFlows)
	if text := spec.ProxyProtocol; text != nil {
		version, err := proxyproto.ParseVersion(*text)
		if err != nil {
			s.warnings = append(s.warnings,
				fmt.Sprintf("warp-routing: proxyProtocol %q is neither v1 nor v2; no PROXY protocol header is sent", *text))
		}
		w.ProxyProtocol = version
	}
	rules, err := compileIPRules(spec.IPRules)
	if err != nil {
		s.warnings = append(s.warnings, fmt.Sprintf(
			"warp-routing: ipRules has a malformed entry (%v); only the entries before it apply, all other destinations are denied", err))
	}
	w.IPRules = rules
	s.WarpRouting = w
}

func defaultWarpRouting() WarpRouting {
	return WarpRouting{ConnectTimeout: DefaultWarpConnectTimeout, TCPKeepAlive: DefaultTCPKeepAlive}
}
