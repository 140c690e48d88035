package ingress

import (
	"fmt"
	"strings"
)

// Explanation says which rule a request meets, and why.
type Explanation struct {
	// Index is the position of the rule that Match finds, and Rule the rule itself.
	Index int
	Rule  *Rule
	// Skipped says for each earlier rule, in their order, why it does not match.
	Skipped []string
	// Origin says what serves the request.
	Origin string
	// Changes are what the origin does not receive as the visitor sent it, one line each.
	Changes []string
	// Warnings are traps that this request shows (docs/spec/ingress.md 15), one line each.
	Warnings []string
}

// Explain is MatchRequest with the reasons.
func (s *Set) Explain(r *Request) Explanation {
	rule, index := s.MatchRequest(r)
	e := Explanation{Index: index, Rule: rule}
	if index < 0 {
		e.Origin = "the management service of the connector; no rule of the configuration is asked"
		return e
	}
	name, absolute := canonicalHost(cutPort(r.Host))
	for i := range s.Rules[:index] {
		e.Skipped = append(e.Skipped, s.Rules[i].mismatch(name, absolute, r))
	}
	e.Origin = rule.origin()
	e.Changes = append(rule.changes(), rule.acts()...)
	e.Warnings = s.traps(name, absolute, r, index)
	return e
}

// mismatch says why the rule does not match a request with the canonical host name.
func (r *Rule) mismatch(name string, absolute bool, q *Request) string {
	if !r.matchesHost(name, absolute) {
		if _, wildcard := canonicalPattern(r.Hostname); wildcard {
			return fmt.Sprintf("%q is no host below %q", name, strings.TrimPrefix(r.Hostname, "*."))
		}
		return fmt.Sprintf("the host is %q, not %q", name, r.Hostname)
	}
	if !r.MatchPath(q.Path) {
		return fmt.Sprintf("the expression %q matches nothing in the path %q", r.Path, q.Path)
	}
	return r.conditions.why(r.conditions.check(q), q) // the rule has some, or it would match
}

// matchesHost reports whether the rule is for a canonical host, as the index of a set finds it.
func (r *Rule) matchesHost(name string, absolute bool) bool {
	if matchesAnyHost(r.Hostname) {
		return true
	}
	pattern, wildcard := canonicalPattern(r.Hostname)
	if !wildcard {
		return pattern == name
	}
	return strings.HasSuffix(name, pattern) || absolute && pattern == "."
}

// origin says what serves the requests of the rule.
func (r *Rule) origin() string {
	s := r.Service
	if len(r.Targets) > 0 {
		return r.origins()
	}
	switch s.Kind {
	case KindHTTP:
		return s.String() + ", over HTTP/1.1" + or(r.Origin.HTTP2Origin && s.OriginScheme() == "https", " or HTTP/2", "")
	case KindH2C:
		return s.String() + ", over HTTP/2 without TLS"
	case KindUnix, KindUnixTLS:
		return "the Unix socket " + s.Path + or(s.Kind == KindUnixTLS, ", over HTTPS", ", over HTTP")
	case KindStatus:
		return fmt.Sprintf("none: the connector responds with status %d", s.Status)
	case KindHelloWorld:
		return "none: the connector responds with its demo page"
	case KindStream:
		return s.URL.Host + ", as a byte stream; a request that opens no WebSocket gets status 426"
	case KindBastion:
		return "the address in the header Cf-Access-Jump-Destination, as a byte stream"
	case KindSocks:
		return "the address that the visitor's client names by SOCKS5, as a byte stream"
	case KindFiles:
		return "none: the connector responds with the files below " + s.Path
	case KindManagement:
	}
	return s.Text()
}

// origins lists the origins of a rule with several.
func (r *Rule) origins() string {
	all := make([]string, len(r.Targets))
	for i, t := range r.Targets {
		all[i] = t.Service.String()
		if t.Weight > 1 {
			all[i] += fmt.Sprintf(" (weight %d)", t.Weight)
		}
		if t.Backup {
			all[i] += " (backup)"
		}
	}
	return fmt.Sprintf("one of %s; by %s among those that are up", strings.Join(all, ", "), r.Balance.Policy)
}

// acts lists what the rule does besides, without secrets.
func (r *Rule) acts() []string {
	var all []string
	add := func(yes bool, format string, args ...any) {
		if yes {
			all = append(all, fmt.Sprintf(format, args...))
		}
	}
	add(r.Closed != "", "refused: %s", r.Closed)
	a := r.Actions
	if a == nil {
		return all
	}
	add(len(a.IPRules) > 0, "refused unless ipRules allow the visitor's address (actions.ipRules)")
	add(a.Limits != (Limits{}), "refused beyond the limits of requests in progress or per second (actions.limits)")
	add(a.Users != nil, "refused without the password of one of %d users (actions.basicAuth)", len(a.Users))
	add(a.MaxBody >= 0, "refused with a body of more than %d bytes (actions.maxBody)", a.MaxBody)
	switch {
	case a.File != "":
		add(true, "answered with status %d and the file %s, not by the origin (actions.respond)", a.Status, a.File)
	case a.Type != "":
		add(true, "answered with status %d and a fixed text, not by the origin (actions.respond)", a.Status)
	case a.Status != 0:
		add(true, "answered with a redirect, status %d, not by the origin (actions.redirect)", a.Status)
	}
	add(a.StripPrefix != "", "the beginning %s of the path is cut off (actions.stripPrefix)", a.StripPrefix)
	add(a.Rewrite != nil, "the path is changed (actions.rewrite)")
	add(a.Timeout > 0, "the whole exchange may take %s (actions.timeout)", a.Timeout)
	add(a.Idle > 0, "it may pass no byte for %s (actions.idleTimeout)", a.Idle)
	for _, c := range a.Request {
		add(true, "header %s of the request: %s (actions.requestHeaders)", c.Name, c.Kind.text())
	}
	for _, c := range a.Response {
		add(true, "header %s of the response: %s (actions.responseHeaders)", c.Name, c.Kind.text())
	}
	return all
}

// changes lists what the origin gets in another form.
func (r *Rule) changes() []string {
	scheme := r.Service.OriginScheme()
	if scheme == "" || r.Service.Kind == KindHelloWorld {
		return nil
	}
	o := &r.Origin
	all := []string{
		or(r.Actions != nil, "query: unchanged", "path and query: unchanged"),
		"Cf-Warp-Tag-Id, and Cf-Warp-Tag-NAME for each tag of the connector: added; those of the visitor: removed",
	}
	if o.HTTPHostHeader == "" {
		all = append(all, "Host: unchanged")
	} else {
		all = append(all, "Host: "+o.HTTPHostHeader+" (httpHostHeader); X-Forwarded-Host: the host of the request")
	}
	all = append(all, "Connection and the fields that it names: removed")
	if o.DisableChunkedEncoding {
		all = append(all, "a body of unknown length: read whole first and sent with Content-Length (disableChunkedEncoding)")
	}
	if scheme == "https" {
		all = append(all, "TLS server name: "+r.serverName()+or(o.NoTLSVerify, "; any certificate is accepted (noTLSVerify)", ""))
	}
	return all
}

// serverName says which name the origin's certificate must have.
func (r *Rule) serverName() string {
	o := &r.Origin
	switch {
	case o.MatchSNIToHost:
		return "the Host that is sent (matchSNItoHost)"
	case o.OriginServerName != "":
		return o.OriginServerName + " (originServerName)"
	case r.Service.Kind == KindUnixTLS:
		return "the Host that is sent"
	}
	return r.Service.URL.Hostname()
}

// traps are the ones of docs/spec/ingress.md 15 that a request shows.
func (s *Set) traps(name string, absolute bool, r *Request, index int) []string {
	var all []string
	path := r.Path
	rule := &s.Rules[index]
	if at := rule.matchStart(path); at > 0 {
		all = append(all, fmt.Sprintf("path %q is not anchored: it matches %q from character %d on; write %q to match only from the start",
			rule.Path, path, at, "^"+rule.Path))
	}
	if index == len(s.Rules)-1 && len(s.Rules) > 1 {
		for i := range s.Rules[:index] {
			if s.Rules[i].Path == "" && !s.Rules[i].matchesHost(name, absolute) && s.Rules[i].matchesHost("any."+name, absolute) {
				all = append(all, fmt.Sprintf("rule #%d is for hosts below %q, and not for that name itself", i, name))
			}
		}
	}
	for i := index + 1; i < len(s.Rules)-1; i++ {
		if s.Rules[i].matchesHost(name, absolute) && s.Rules[i].MatchPath(path) && s.Rules[i].Meets(r) {
			all = append(all, fmt.Sprintf("rule #%d matches as well, but comes later", i))
		}
	}
	return all
}

// matchStart is where in the path the expression of the rule matches first, in bytes; 0 without an expression.
func (r *Rule) matchStart(path string) int {
	if r.path == nil {
		return 0
	}
	if loc := r.path.FindStringIndex(path); loc != nil {
		return loc[0]
	}
	return 0
}

func or(yes bool, then, otherwise string) string {
	if yes {
		return then
	}
	return otherwise
}
