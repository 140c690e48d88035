package ingress

import (
	"fmt"
	"regexp"
	"strings"
)

// statusNoRules is what the default rule answers.
const statusNoRules = 503

// Compile validates a document and gives its rules. The first fault ends it: rule by rule, and in each the service, the
// access settings, the host name, the path (docs/spec/ingress.md 3). A document without rules is ErrNoIngress; a fault of a rule
// is a *Fault.
func Compile(doc Document) (*Set, error) {
	if len(doc.Ingress) == 0 {
		return nil, ErrNoIngress
	}
	s := &Set{Rules: make([]Rule, len(doc.Ingress)), OriginRequest: topLevel(&doc.OriginRequest)}
	for i := range doc.Ingress {
		rule, err := s.compileRule(&doc, i)
		if err != nil {
			return nil, &Fault{Rule: i, Hostname: doc.Ingress[i].Hostname, Err: err}
		}
		s.Rules[i] = rule
	}
	var err error
	if s.WarpRouting, err = warpRouting(doc.WarpRouting); err != nil {
		return nil, err
	}
	s.finish(&doc)
	return s, nil
}

// CompileRemote is Compile for a document that replaces the running one: an empty list is valid and answers every request
// 503 (docs/spec/ingress.md 12.2).
func CompileRemote(doc Document) (*Set, error) {
	if len(doc.Ingress) > 0 {
		return Compile(doc)
	}
	s := Default503()
	s.OriginRequest = topLevel(&doc.OriginRequest)
	var err error
	if s.WarpRouting, err = warpRouting(doc.WarpRouting); err != nil {
		return nil, err
	}
	return s, nil
}

// Default503 is the set that serves while there is no configuration: every request is answered 503.
func Default503() *Set {
	s := &Set{
		Rules:         []Rule{{Service: Service{Kind: KindStatus, Status: statusNoRules}, Origin: DefaultOriginRequest()}},
		OriginRequest: DefaultOriginRequest(),
		WarpRouting:   defaultWarpRouting(),
	}
	s.finish(&Document{})
	return s
}

func (s *Set) finish(doc *Document) {
	s.index = buildIndex(s.Rules)
	s.guarded = anyGuarded(s.Rules)
	s.warnings = findWarnings(s.Rules, doc)
}

func (s *Set) compileRule(doc *Document, i int) (Rule, error) {
	spec := &doc.Ingress[i]
	rule := Rule{Hostname: spec.Hostname, Path: spec.Path, Origin: s.OriginRequest}
	spec.OriginRequest.apply(&rule.Origin)
	service, err := parseService(spec.Service, rule.Origin.BastionMode, doc.AllowUnknownSchemes)
	if err != nil {
		return Rule{}, err
	}
	rule.Service = service
	if err := setIPRules(&rule, spec.OriginRequest.IPRules, doc.OriginRequest.IPRules); err != nil {
		return Rule{}, err
	}
	if err := checkAccess(rule.Origin.Access); err != nil {
		return Rule{}, err
	}
	if err := checkProxyProtocol(effectiveText(spec.OriginRequest.ProxyProtocol, doc.OriginRequest.ProxyProtocol)); err != nil {
		return Rule{}, err
	}
	if err := checkHostname(spec, i, len(doc.Ingress)); err != nil {
		return Rule{}, err
	}
	rule.Punycode = secondForm(rule.Hostname)
	if spec.Path != "" {
		if rule.path, err = regexp.Compile(spec.Path); err != nil {
			return Rule{}, fmt.Errorf("Rule #%d has an invalid regex: %w", i+1, err)
		}
	}
	return rule, nil
}

// setIPRules gives the rule its own list, or the top level's when it has none. Where a policy is enforced a malformed entry
// is a fault, also an inherited one: leaving out an entry that denies would open the way.
func setIPRules(rule *Rule, own, inherited []IPRuleSpec) error {
	specs := own
	if len(specs) == 0 {
		specs = inherited
	}
	switch rule.Service.Kind {
	case KindSocks, KindBastion:
		rules, err := compileIPRules(specs)
		if err != nil {
			return fmt.Errorf("unable to create ip rule for %s: %w", rule.Service.Text(), err)
		}
		rule.Origin.IPRules = rules
	case KindHTTP, KindH2C, KindUnix, KindUnixTLS, KindHelloWorld, KindStatus, KindStream, KindManagement:
		if len(own) > 0 {
			rule.Origin.IPRules = ownRules(own)
		}
	}
	return nil
}

// effectiveText is the rule's own text, or the top level's when it has none.
func effectiveText(own, inherited *string) *string {
	if own != nil {
		return own
	}
	return inherited
}

// checkAccess refuses audience tags without a team; neither of them is accepted, to be set up later, and lets nobody in.
func checkAccess(a Access) error {
	if a.Required && a.TeamName == "" && len(a.AudTag) > 0 {
		return errAccessTeam
	}
	return nil
}

func checkHostname(spec *RuleSpec, i, total int) error {
	if _, ok := splitHostPort(spec.Hostname); ok {
		return errHostnamePort
	}
	if strings.LastIndexByte(spec.Hostname, '*') > 0 {
		return errBadWildcard
	}
	catchAll := matchesAnyHost(spec.Hostname) && spec.Path == ""
	last := i == total-1
	if last && !catchAll {
		return errLastRule
	}
	if catchAll && !last {
		//nolint:staticcheck // the reference's text
		return fmt.Errorf("Rule #%d is matching the hostname '%s', but this will match every hostname,"+
			" meaning the rules which follow it will never be triggered.", i+1, spec.Hostname)
	}
	return nil
}

func matchesAnyHost(hostname string) bool { return hostname == "" || hostname == "*" }
