package ingress

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/culvert-tunnel/culvert/pkg/redact"
)

// statusNoRules is the status of the default rule.
const statusNoRules = 503

// Compile validates the operator's own document and returns its rules. It reports the first fault only: it checks rule by
// rule, and within a rule the service, the access settings, the host name and the path (docs/spec/ingress.md 3). A document
// without rules is ErrNoIngress; a fault of a rule is a *RuleError. It refuses nothing that the reference runs: where the
// reference ignores a mistake, Compile adds a warning to the set.
func Compile(doc Document) (*Set, error) {
	if len(doc.Ingress) == 0 {
		return nil, ErrNoIngress
	}
	s, err := compile(&doc, &pathBudget{})
	if err != nil {
		return nil, err
	}
	s.source = &doc
	return s, nil
}

// CompileRemote is Compile for a document that the edge pushed. An empty list of rules is valid and responds to every request
// with 503 (docs/spec/ingress.md 12.2). Path expressions must fit the limits of MaxPathText and MaxPathSize: the edge must
// not be able to exhaust the connector's memory.
func CompileRemote(doc Document) (*Set, error) {
	if len(doc.Ingress) > 0 {
		return compile(&doc, &pathBudget{enforced: true})
	}
	s := Default503()
	s.source = nil
	s.OriginRequest = topLevel(&doc.OriginRequest)
	s.setWarpRouting(&doc.WarpRouting)
	return s, nil
}

func compile(doc *Document, paths *pathBudget) (*Set, error) {
	s := &Set{Rules: make([]Rule, len(doc.Ingress)), OriginRequest: topLevel(&doc.OriginRequest)}
	for i := range doc.Ingress {
		rule, err := s.compileRule(doc, i, paths)
		if err != nil {
			return nil, &RuleError{Rule: i, Hostname: doc.Ingress[i].Hostname, Err: err}
		}
		s.Rules[i] = rule
	}
	s.setWarpRouting(&doc.WarpRouting)
	s.finish(doc)
	return s, nil
}

// Default503 is the set that serves while there is no configuration: every request gets status 503.
func Default503() *Set {
	s := &Set{
		Rules:         []Rule{{Service: Service{Kind: KindStatus, Status: statusNoRules}, Origin: DefaultOriginRequest()}},
		OriginRequest: DefaultOriginRequest(),
		WarpRouting:   defaultWarpRouting(),
		source:        &Document{Ingress: []RuleSpec{{Service: prefixStatus + strconv.Itoa(statusNoRules)}}},
	}
	s.finish(&Document{})
	return s
}

func (s *Set) finish(doc *Document) {
	s.rebuild()
	s.warnings = append(s.warnings, findWarnings(s.Rules, doc)...)
}

// rebuild makes what follows from the rules.
func (s *Set) rebuild() {
	s.index = buildIndex(s.Rules)
	s.guarded = anyGuarded(s.Rules)
	s.conditional = slices.ContainsFunc(s.Rules, func(r Rule) bool { return r.conditions != nil })
}

// warn adds a warning about rule i.
func (s *Set) warn(i int, format string, args ...any) {
	s.warnings = append(s.warnings, fmt.Sprintf("Rule #%d: ", i+1)+fmt.Sprintf(format, args...))
}

func (s *Set) compileRule(doc *Document, i int, paths *pathBudget) (Rule, error) {
	spec := &doc.Ingress[i]
	rule := Rule{Hostname: spec.Hostname, Path: spec.Path, Origin: s.OriginRequest, Pushed: paths.enforced}
	spec.OriginRequest.apply(&rule.Origin)
	service, err := s.compileService(i, spec, &rule, paths.enforced)
	if err != nil {
		return Rule{}, err
	}
	rule.Service = service
	rule.Origin.BastionMode = rule.Origin.BastionMode || service.Kind == KindBastion
	s.warnService(i, service)
	if err := s.setIPRules(i, &rule, spec.OriginRequest.IPRules, doc.OriginRequest.IPRules); err != nil {
		return Rule{}, err
	}
	if err := s.checkAccess(i, rule.Origin.Access, spec.OriginRequest.Access != nil); err != nil {
		return Rule{}, err
	}
	if text := effectiveText(spec.OriginRequest.ProxyProtocol, doc.OriginRequest.ProxyProtocol); checkProxyProtocol(text) != nil {
		s.warn(i, "proxyProtocol %q is neither v1 nor v2; no PROXY protocol header is sent", *text)
	}
	if err := s.setActions(i, spec, &rule, paths); err != nil {
		return Rule{}, err
	}
	if err := s.setMatch(i, spec, &rule, paths, len(doc.Ingress)); err != nil {
		return Rule{}, err
	}
	if err := checkHostname(spec, i, len(doc.Ingress)); err != nil {
		return Rule{}, err
	}
	rule.Punycode = secondForm(rule.Hostname)
	if spec.Path != "" {
		if err := paths.take(spec.Path); err != nil {
			return Rule{}, fmt.Errorf("Rule #%d has a path that is too large: %w", i+1, err)
		}
		if rule.path, err = regexp.Compile(spec.Path); err != nil {
			return Rule{}, fmt.Errorf("Rule #%d has an invalid regex: %w", i+1, err)
		}
	}
	return rule, nil
}

// setActions compiles the actions of a rule. In a local document a fault closes the rule: what it asks for may be protection.
func (s *Set) setActions(i int, spec *RuleSpec, rule *Rule, paths *pathBudget) error {
	if spec.ActionsFault != "" {
		rule.close("actions: " + spec.ActionsFault)
	}
	if spec.Actions != nil {
		actions, err := compileActions(spec.Actions, paths)
		if err != nil && paths.enforced {
			return fmt.Errorf("Rule #%d: actions: %w", i+1, err)
		}
		if err != nil {
			rule.close("actions: " + err.Error())
		}
		rule.Actions = actions
		rule.Service.Listing = actions.Listing && rule.Service.Kind == KindFiles
		if actions.Listing != rule.Service.Listing {
			s.warn(i, "actions: listing has no effect without a service file:///DIRECTORY")
		}
	}
	return nil
}

// close makes the rule refuse every request: what cannot be read may have been meant as protection.
func (r *Rule) close(why string) {
	if why = strings.ReplaceAll(why, "\n", "; "); r.Closed != "" {
		why = r.Closed + "; " + why
	}
	r.Closed = why
}

// setMatch compiles the conditions of a rule. In a local document a fault in them closes the rule, as one in actions does.
func (s *Set) setMatch(i int, spec *RuleSpec, rule *Rule, paths *pathBudget, total int) (err error) {
	switch {
	case spec.MatchFault != "":
		err = errors.New(spec.MatchFault)
	case spec.Match == nil:
	case i == total-1:
		err = errors.New("the last rule must match every request")
	default:
		rule.conditions, err = compileMatch(spec.Match, paths)
	}
	if err != nil && paths.enforced {
		return fmt.Errorf("Rule #%d: match: %w", i+1, err)
	}
	if err != nil {
		rule.conditions = nil
		rule.close("match: " + err.Error())
	}
	if rule.Closed != "" {
		s.warn(i, "%s; the rule refuses every request", rule.Closed)
	}
	return nil
}

// compileService finds the service of a rule, and its origins if the rule has several. In a local document a fault in keys that the
// reference ignores leaves the one origin that the reference would use.
func (s *Set) compileService(i int, spec *RuleSpec, rule *Rule, remote bool) (Service, error) {
	if len(spec.Services) == 0 {
		if spec.Balance != nil {
			s.warn(i, "balance has no effect without services")
		}
		return parseService(spec.Service, rule.Origin.BastionMode)
	}
	if only := spec.Services[0].Service; len(spec.Services) == 1 && strings.HasPrefix(only, prefixFiles) {
		return parseService(only, rule.Origin.BastionMode) // so that service can name another one for the reference
	}
	targets, balance, err := compileServices(spec)
	if err == nil && rule.Origin.BastionMode {
		err = errors.New("services: a rule with bastionMode has none")
	}
	if err == nil {
		rule.Targets, rule.Balance = targets, balance
		return targets[0].Service, nil
	}
	if remote || spec.Service == "" {
		return Service{}, fmt.Errorf("Rule #%d: %w", i+1, err)
	}
	s.warn(i, "%v; only the service %s is used", strings.ReplaceAll(err.Error(), "\n", "; "), spec.Service)
	return parseService(spec.Service, rule.Origin.BastionMode)
}

// warnService adds a warning if the scheme of a stream service is unknown: its bytes are carried to the host and port.
func (s *Set) warnService(i int, service Service) {
	if service.Kind != KindStream {
		return
	}
	if _, known := defaultPort(service.URL.Scheme); known {
		return
	}
	s.warn(i, "%s has the unknown scheme %q; its bytes are carried to %s as a TCP stream", service, service.URL.Scheme, service.URL.Host)
	if service.URL.Port() == "" {
		s.warn(i, "%s names no port, so every connection to it fails", service)
	}
}

// setIPRules gives the rule its own list, or the top level's list when it has none. A malformed entry of a socks-proxy
// rule's own list is a fault, as in the reference. The reference ignores every other malformed entry; there, the rules
// before it count and all other destinations are denied: to leave out an entry that denies would open the way.
func (s *Set) setIPRules(i int, rule *Rule, own, inherited []IPRuleSpec) error {
	specs := own
	if len(specs) == 0 {
		specs = inherited
	}
	switch rule.Service.Kind {
	case KindSocks, KindBastion:
		rules, err := compileIPRules(specs)
		if err != nil && rule.Service.Kind == KindSocks && len(own) > 0 {
			return fmt.Errorf("unable to create ip rule for %s: %w", rule.Service.Text(), err)
		}
		if err != nil {
			s.warn(i, "ipRules has a malformed entry (%v); only the entries before it apply, all other destinations are denied", err)
		}
		rule.Origin.IPRules = rules
	case KindHTTP, KindH2C, KindUnix, KindUnixTLS, KindHelloWorld, KindStatus, KindStream, KindManagement, KindFiles:
		if len(own) > 0 {
			rule.Origin.IPRules = ownRules(own)
		}
	}
	return nil
}

// effectiveText returns the rule's own text, or the top level's if it has none.
func effectiveText(own, inherited *string) *string {
	if own != nil {
		return own
	}
	return inherited
}

// checkAccess refuses a rule's own audience tags without a team. The reference ignores inherited ones; they only cause a
// warning, and the rule refuses every request, as it does with neither tags nor a team.
func (s *Set) checkAccess(i int, a Access, own bool) error {
	if a.Required && len(a.AudTag) == 0 {
		s.warn(i, "access is required, but audTag is empty, so no token is accepted: all requests are refused")
		return nil
	}
	if !a.Required || a.TeamName != "" || a.Issuer != "" {
		return nil
	}
	if own {
		return errAccessTeam
	}
	s.warn(i, "the inherited access settings have audTag but no teamName; all requests are refused")
	return nil
}

func checkHostname(spec *RuleSpec, i, total int) error {
	if _, rest, ok := strings.Cut(spec.Hostname, "://"); ok {
		host, _, _ := strings.Cut(rest, "/")
		return fmt.Errorf("%w, and '%s' has a scheme as well: write '%s'", errHostnamePort, redact.URL(spec.Hostname), redact.URL(host))
	}
	if _, ok := splitHostPort(spec.Hostname); ok {
		return errHostnamePort
	}
	if strings.LastIndexByte(spec.Hostname, '*') > 0 {
		return errBadWildcard
	}
	catchAll := matchesAnyHost(spec.Hostname) && spec.Path == ""
	conditional := spec.Match != nil || spec.MatchFault != ""
	last := i == total-1
	if last && !catchAll {
		return errLastRule
	}
	if catchAll && !last && !conditional {
		//nolint:staticcheck // the reference's text
		return fmt.Errorf("Rule #%d is matching the hostname '%s', but this will match every hostname,"+
			" meaning the rules which follow it will never be triggered.", i+1, spec.Hostname)
	}
	return nil
}

func matchesAnyHost(hostname string) bool { return hostname == "" || hostname == "*" }
