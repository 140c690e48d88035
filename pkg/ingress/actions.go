package ingress

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/wire/httpfield"
)

const (
	maxRespond   = 64 << 10
	bcryptLength = 60
	maxCost      = 14 // a check of a password may take about a second
	burstSeconds = 2
)

// Actions are the compiled actions of a rule. A zero limit is none.
type Actions struct {
	IPRules     []IPRule
	TrustedHops []netip.Prefix
	Realm       string
	Users       map[string]string // bcrypt hashes by name; nil asks nobody
	Limits      Limits
	MaxBody     int64 // negative is no limit
	Timeout     time.Duration
	Idle        time.Duration

	// At most one of the two responses is set: Status is not zero.
	Redirect Template
	Respond  string
	File     string // absolute path of what is sent in place of Respond
	Type     string // of Respond or File; empty with a redirect, and for a file whose name says it
	Status   int

	Listing     bool
	StripPrefix string
	Rewrite     *regexp.Regexp
	RewriteTo   string
	Request     []HeaderChange
	Response    []HeaderChange
}

// Limits bound the requests of a rule and of each visitor.
type Limits struct{ All, Each Limit }

// Limit is a bound on requests in progress and per second; zero is none.
type Limit struct {
	InFlight int
	Rate     float64
	Burst    int
}

// ChangeKind is a kind of change of a header.
type ChangeKind uint8

// The kinds, in the order in which they are applied.
const (
	ChangeRemove ChangeKind = iota + 1
	ChangeSet
	ChangeAdd
)

func (k ChangeKind) text() string {
	switch k {
	case ChangeRemove:
		return "removed"
	case ChangeSet:
		return "set"
	case ChangeAdd:
	}
	return "added"
}

// HeaderChange is one change of a header.
type HeaderChange struct {
	Kind  ChangeKind
	Name  string // canonical
	Value Template
}

// Variables are what templates may name.
type Variables struct {
	Method, Scheme, Host, Path, Query, Client, RequestID string // Path as on the wire
}

// Template is a text with variables: {method}, {scheme}, {host}, {path}, {query}, {uri}, {client}, {request_id}.
type Template struct{ parts []string } // texts at even positions, names at odd ones

// Text fills the variables in.
func (t Template) Text(v *Variables) string {
	if len(t.parts) == 1 {
		return t.parts[0]
	}
	var b strings.Builder
	for i, p := range t.parts {
		if i%2 == 1 {
			p, _ = v.get(p) // parseTemplate has checked the name
		}
		b.WriteString(p)
	}
	return b.String()
}

func (v *Variables) get(name string) (string, bool) {
	switch name {
	case "method":
		return v.Method, true
	case "scheme":
		return v.Scheme, true
	case "host":
		return v.Host, true
	case "path":
		return v.Path, true
	case "query":
		return v.Query, true
	case "uri":
		if v.Query != "" {
			return v.Path + "?" + v.Query, true
		}
		return v.Path, true
	case "client":
		return v.Client, true
	case "request_id":
		return v.RequestID, true
	}
	return "", false
}

func parseTemplate(text string) (Template, error) {
	var t Template
	for {
		before, rest, found := strings.Cut(text, "{")
		t.parts = append(t.parts, before)
		if !found {
			return t, nil
		}
		name, after, closed := strings.Cut(rest, "}")
		if _, known := (&Variables{}).get(name); !closed || !known {
			return Template{}, fmt.Errorf("%q is no variable", "{"+name+"}")
		}
		t.parts = append(t.parts, name)
		text = after
	}
}

// compileActions checks what a rule does. paths bounds the expressions of a pushed document.
func compileActions(s *ActionsSpec, paths *pathBudget) (*Actions, error) {
	a := &Actions{StripPrefix: s.StripPrefix, Listing: s.Listing, MaxBody: -1}
	var errs [9]error
	errs[0] = a.setVisitors(s)
	errs[1] = a.setUsers(s.BasicAuth)
	errs[2] = a.setLimits(s.Limits)
	if s.MaxBody != nil {
		if a.MaxBody = *s.MaxBody; a.MaxBody < 0 {
			errs[3] = fmt.Errorf("maxBody: %d is negative", a.MaxBody)
		}
	}
	a.Timeout, errs[4] = atLeast("timeout", s.Timeout, 0, 0)
	a.Idle, errs[8] = atLeast("idleTimeout", s.IdleTimeout, 0, 0)
	errs[5] = a.setResponse(s)
	errs[6] = a.setPath(s, paths)
	var err, err2 error
	a.Request, err = compileHeaders(s.RequestHeaders, httpfield.IsReservedInRequest)
	a.Response, err2 = compileHeaders(s.ResponseHeaders, httpfield.IsReservedInResponse)
	if err != nil {
		err = fmt.Errorf("requestHeaders: %w", err)
	}
	if err2 != nil {
		err2 = fmt.Errorf("responseHeaders: %w", err2)
	}
	errs[7] = errors.Join(err, err2)
	return a, errors.Join(errs[:]...)
}

func (a *Actions) setVisitors(s *ActionsSpec) error {
	for i, spec := range s.IPRules {
		rule, err := ParseIPRule(spec)
		if err == nil && len(rule.Ports) > 0 {
			err = errors.New("a visitor has no ports")
		}
		if err != nil {
			return fmt.Errorf("ipRules: %d: %w", i, err)
		}
		a.IPRules = append(a.IPRules, rule)
	}
	for i, text := range s.TrustedHops {
		prefix, ok := parsePrefix(text)
		if !ok {
			return fmt.Errorf("trustedHops: %d: %q is not a network such as 10.0.0.0/8", i, text)
		}
		a.TrustedHops = append(a.TrustedHops, prefix)
	}
	return nil
}

func (a *Actions) setUsers(s *BasicAuthSpec) error {
	if s == nil {
		return nil
	}
	a.Realm, a.Users = orDefault(s.Realm, "restricted"), s.Users
	if len(s.Users) == 0 {
		return errors.New("basicAuth: users: there are none")
	}
	if !httpfield.IsValue(a.Realm) || strings.ContainsAny(a.Realm, `"\`) {
		return errors.New("basicAuth: realm: has a character that is not possible there")
	}
	for _, name := range slices.Sorted(maps.Keys(s.Users)) {
		hash := s.Users[name]
		if len(hash) != bcryptLength || !strings.HasPrefix(hash, "$2") {
			return fmt.Errorf("basicAuth: users: %q has no bcrypt hash (htpasswd -nB %s)", name, name)
		}
		if cost, err := strconv.Atoi(hash[4:6]); err != nil || cost > maxCost {
			return fmt.Errorf("basicAuth: users: the hash of %q has a cost above %d", name, maxCost)
		}
	}
	return nil
}

func (a *Actions) setLimits(s *LimitsSpec) error {
	if s == nil {
		return nil
	}
	var err, err2 error
	a.Limits.All, err = compileLimit(s.InFlight, s.Rate, s.Burst)
	a.Limits.Each, err2 = compileLimit(s.InFlightPerClient, s.RatePerClient, s.BurstPerClient)
	if err = errors.Join(err, err2); err != nil {
		return fmt.Errorf("limits: %w", err)
	}
	return nil
}

func compileLimit(inFlight *int, rate *float64, burst *int) (l Limit, err error) {
	if inFlight != nil {
		if l.InFlight = *inFlight; l.InFlight < 1 {
			return l, fmt.Errorf("%d requests in progress are none", l.InFlight)
		}
	}
	if rate == nil {
		if burst != nil {
			return l, errors.New("a burst without a rate")
		}
		return l, nil
	}
	const most = 1e6
	if l.Rate = *rate; !(l.Rate > 0 && l.Rate <= most) {
		return l, fmt.Errorf("%v requests per second are not between 0 and %v", l.Rate, most)
	}
	l.Burst = max(1, int(l.Rate*burstSeconds))
	if burst != nil {
		if l.Burst = *burst; l.Burst < 1 {
			return l, fmt.Errorf("a burst of %d", l.Burst)
		}
	}
	return l, nil
}

func (a *Actions) setResponse(s *ActionsSpec) error {
	switch {
	case s.Redirect != nil && s.Respond != nil:
		return errors.New("redirect and respond exclude each other")
	case s.Redirect != nil:
		return a.setRedirect(s.Redirect)
	case s.Respond != nil:
		return a.setRespond(s.Respond)
	}
	return nil
}

func (a *Actions) setRedirect(s *RedirectSpec) error {
	a.Status = http308
	if s.Status != nil {
		a.Status = *s.Status
	}
	if !slices.Contains([]int{301, 302, 303, 307, http308}, a.Status) {
		return fmt.Errorf("redirect: status: %d is no redirect", a.Status)
	}
	starts := func(prefix string) bool { return strings.HasPrefix(s.To, prefix) }
	if !slices.ContainsFunc([]string{"https://", "http://", "/", "{scheme}://"}, starts) || !httpfield.IsValue(s.To) {
		return fmt.Errorf("redirect: to: %q is neither a URL nor a path", s.To)
	}
	to, err := parseTemplate(s.To)
	if err != nil {
		return fmt.Errorf("redirect: to: %w", err)
	}
	a.Redirect = to
	return nil
}

func (a *Actions) setRespond(s *RespondSpec) error {
	a.Status, a.Respond, a.Type = 200, s.Body, orDefault(s.ContentType, "text/plain; charset=utf-8")
	if s.Status != nil {
		a.Status = *s.Status
	}
	if a.Status < 200 || a.Status > maxStatus {
		return fmt.Errorf("respond: status: %d is not between 200 and %d", a.Status, maxStatus)
	}
	if s.File != "" {
		a.File, a.Type = path.Clean(s.File), s.ContentType
		if !path.IsAbs(s.File) || strings.ContainsRune(s.File, 0) || s.Body != "" {
			return fmt.Errorf("respond: file: %q is no absolute path, or there is a body beside it", s.File)
		}
	}
	if len(a.Respond) > maxRespond || !httpfield.IsValue(a.Type) {
		return fmt.Errorf("respond: the body is larger than %d bytes, or contentType is no value of a header", maxRespond)
	}
	return nil
}

const http308 = 308

func (a *Actions) setPath(s *ActionsSpec, paths *pathBudget) error {
	if p := s.StripPrefix; p != "" {
		if p[0] != '/' || strings.ContainsAny(p, "?#% ") {
			return fmt.Errorf("stripPrefix: %q is not the beginning of a path", p)
		}
		a.StripPrefix = strings.TrimRight(p, "/")
	}
	if s.Rewrite == nil {
		return nil
	}
	if err := paths.take(s.Rewrite.From); err != nil {
		return fmt.Errorf("rewrite: from: %w", err)
	}
	re, err := regexp.Compile(s.Rewrite.From)
	if err != nil {
		return fmt.Errorf("rewrite: from: %w", err)
	}
	a.Rewrite, a.RewriteTo = re, s.Rewrite.To
	return nil
}

func compileHeaders(s *HeadersSpec, reserved func(string) bool) ([]HeaderChange, error) {
	if s == nil {
		return nil, nil
	}
	var out []HeaderChange
	add := func(kind ChangeKind, name, value string) error {
		canonical := httpfield.Canonical(name)
		switch {
		case !httpfield.IsToken(name) || !httpfield.IsValue(value):
			return fmt.Errorf("%q is not usable as a header, or its value is not", name)
		case canonical == "Host":
			return errors.New("use httpHostHeader for Host")
		case reserved(canonical), httpfield.IsHopByHop(canonical), canonical == "Content-Length", canonical == "Trailer", canonical == "Te":
			return fmt.Errorf("%q belongs to the connection or to the tunnel", name)
		}
		t, err := parseTemplate(value)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		out = append(out, HeaderChange{kind, canonical, t})
		return nil
	}
	for _, name := range s.Remove {
		if err := add(ChangeRemove, name, ""); err != nil {
			return nil, err
		}
	}
	for _, name := range slices.Sorted(maps.Keys(s.Set)) {
		if err := add(ChangeSet, name, s.Set[name]); err != nil {
			return nil, err
		}
	}
	for _, name := range slices.Sorted(maps.Keys(s.Add)) {
		if err := add(ChangeAdd, name, s.Add[name]); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// Apply makes changes to a header. A value that a variable has made unusable is left out.
func Apply(h map[string][]string, changes []HeaderChange, v *Variables) {
	for _, c := range changes {
		if c.Kind == ChangeRemove {
			delete(h, c.Name)
			continue
		}
		value := c.Value.Text(v)
		if !httpfield.IsValue(value) {
			continue
		}
		if c.Kind == ChangeSet {
			h[c.Name] = []string{value}
		} else {
			h[c.Name] = append(h[c.Name][:len(h[c.Name]):len(h[c.Name])], value)
		}
	}
}

// Path gives the path that the origin sees: raw as on the wire, decoded without escapes. An empty raw means that it is to be made of
// decoded.
func (a *Actions) Path(raw, decoded string) (newRaw, newDecoded string) {
	if p := a.StripPrefix; p != "" && (decoded == p || strings.HasPrefix(decoded, p+"/")) {
		if rest, same := strings.CutPrefix(raw, p); same && (rest == "" || rest[0] == '/') {
			raw = rooted(rest)
		} else {
			raw = "" // the beginning was escaped
		}
		decoded = rooted(decoded[len(p):])
	}
	if a.Rewrite != nil {
		if to := a.Rewrite.ReplaceAllString(decoded, a.RewriteTo); to != decoded {
			raw, decoded = "", rooted(to)
		}
	}
	return raw, decoded
}

// rooted is a path that begins with exactly one slash, so that no origin reads its beginning as a host.
func rooted(path string) string { return "/" + strings.TrimLeft(path, "/") }

// Location is the target of the redirect.
func (a *Actions) Location(v *Variables) string {
	to := a.Redirect.Text(v)
	if strings.HasPrefix(to, "/") {
		return rooted(to) // two slashes would name another host
	}
	return to
}

// Visitor finds the address of the visitor: direct, or if that is a trusted hop, the last entry of X-Forwarded-For that is none. It is not
// valid if it is unknown.
func (a *Actions) Visitor(direct netip.Addr, forwarded []string) netip.Addr {
	direct = direct.Unmap().WithZone("")
	trusted := func(addr netip.Addr) bool {
		return slices.ContainsFunc(a.TrustedHops, func(p netip.Prefix) bool { return p.Contains(addr) })
	}
	if !direct.IsValid() || !trusted(direct) {
		return direct
	}
	items := strings.Split(strings.Join(forwarded, ","), ",")
	for _, item := range slices.Backward(items) {
		addr, err := netip.ParseAddr(strings.TrimSpace(item))
		if err != nil {
			return netip.Addr{}
		}
		if addr = addr.Unmap().WithZone(""); !trusted(addr) {
			return addr
		}
	}
	return netip.Addr{}
}
