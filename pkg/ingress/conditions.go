package ingress

import (
	"errors"
	"fmt"
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/culvert-tunnel/culvert/pkg/wire/httpfield"
)

// The protocols of requests that match.protocols tells apart.
const (
	ProtocolHTTP      = "http" // neither of the others
	ProtocolGRPC      = "grpc"
	ProtocolWebSocket = "websocket"
)

const portHTTP, portHTTPS = 80, 443

// Request is what a rule is chosen by.
type Request struct {
	Host string // as received; a port is cut off
	Path string // percent-decoded

	// The rest counts only for a set that is Conditional.
	Method   string
	Query    string              // as received, without the question mark
	Header   map[string][]string // canonical names
	Protocol string              // one of the constants
	Port     int                 // that the visitor connected to
}

// Get is a plain GET over HTTPS.
func Get(host, path string) *Request {
	return &Request{Host: host, Path: path, Method: "GET", Protocol: ProtocolHTTP, Port: portHTTPS}
}

// Port is the port in a Host header, or that of the scheme, http or https, when it has none.
func Port(host, scheme string) int {
	if _, ok := splitHostPort(host); ok {
		text := host[strings.LastIndexByte(host, ':')+1:]
		if n, err := strconv.ParseUint(text, 10, 16); err == nil {
			return int(n)
		}
	}
	if scheme == "http" {
		return portHTTP
	}
	return portHTTPS
}

// MatchSpec are the conditions of a rule beside host and path, as written (docs/actions.md). All must hold. The reference ignores them.
type MatchSpec struct {
	Methods   []string          `json:"methods,omitempty" doc:"one of these methods"`
	Headers   map[string]string `json:"headers,omitempty" doc:"name to value: the text itself, * for any value, or ~ and a regular expression"`
	Query     map[string]string `json:"query,omitempty" doc:"the same for parameters of the query"`
	Protocols []string          `json:"protocols,omitempty" enum:"http,grpc,websocket" doc:"http, grpc or websocket"`
	Ports     []int             `json:"ports,omitempty" doc:"the port that the visitor connected to"`
}

// UnmarshalJSON refuses unknown keys.
func (s *MatchSpec) UnmarshalJSON(b []byte) error {
	type plain MatchSpec
	*s = MatchSpec{}
	return strict(b, (*plain)(s))
}

// conditions are a compiled MatchSpec.
type conditions struct {
	methods, protocols []string
	headers, query     []valueCondition
	ports              []int
}

// valueCondition demands a value of a name.
type valueCondition struct {
	name, text string
	expression *regexp.Regexp // nil for a fixed text or any value
}

func (v *valueCondition) holds(values []string) bool {
	return slices.ContainsFunc(values, func(value string) bool {
		if v.expression != nil {
			return v.expression.MatchString(value)
		}
		return v.text == "*" || v.text == value
	})
}

// unmet is the first condition that a request does not meet.
type unmet struct {
	key   string // of match; empty when all are met
	value *valueCondition
}

func (c *conditions) check(r *Request) unmet {
	switch {
	case len(c.methods) > 0 && !slices.Contains(c.methods, r.Method):
		return unmet{key: "methods"}
	case len(c.protocols) > 0 && !slices.Contains(c.protocols, r.Protocol):
		return unmet{key: "protocols"}
	case len(c.ports) > 0 && !slices.Contains(c.ports, r.Port):
		return unmet{key: "ports"}
	}
	for i := range c.headers {
		if v := &c.headers[i]; !v.holds(r.Header[v.name]) {
			return unmet{"headers", v}
		}
	}
	if len(c.query) == 0 {
		return unmet{}
	}
	values, _ := url.ParseQuery(r.Query) // what is malformed in it is no parameter
	for i := range c.query {
		if v := &c.query[i]; !v.holds(values[v.name]) {
			return unmet{"query", v}
		}
	}
	return unmet{}
}

// why says what the request has instead of what the condition demands.
func (c *conditions) why(u unmet, r *Request) string {
	switch u.key {
	case "methods":
		return fmt.Sprintf("the method is %q, not one of %q", r.Method, c.methods)
	case "protocols":
		return fmt.Sprintf("the protocol is %q, not one of %q", r.Protocol, c.protocols)
	case "ports":
		return fmt.Sprintf("the port is %d, not one of %d", r.Port, c.ports)
	case "headers":
		return fmt.Sprintf("no header %s has the value %q", u.value.name, u.value.text)
	}
	return fmt.Sprintf("no parameter %s of the query has the value %q", u.value.name, u.value.text)
}

// Meets reports whether the request meets the conditions of the rule beside host and path.
func (r *Rule) Meets(q *Request) bool { return r.conditions == nil || r.conditions.check(q).key == "" }

// Conditional reports whether some rule has conditions beside host and path.
func (s *Set) Conditional() bool { return s.conditional }

// compileMatch compiles the conditions of a rule. paths bounds the expressions of a pushed document.
func compileMatch(s *MatchSpec, paths *pathBudget) (*conditions, error) {
	c := &conditions{methods: s.Methods, protocols: s.Protocols, ports: s.Ports}
	for _, m := range s.Methods {
		if !httpfield.IsToken(m) {
			return nil, fmt.Errorf("methods: %q is no method", m)
		}
	}
	for _, p := range s.Protocols {
		if p != ProtocolHTTP && p != ProtocolGRPC && p != ProtocolWebSocket {
			return nil, fmt.Errorf("protocols: %q is not %s, %s or %s", p, ProtocolHTTP, ProtocolGRPC, ProtocolWebSocket)
		}
	}
	for _, p := range s.Ports {
		const most = 1<<16 - 1
		if p < 1 || p > most {
			return nil, fmt.Errorf("ports: %d is not between 1 and %d", p, most)
		}
	}
	for name := range s.Headers {
		if canonical := httpfield.Canonical(name); !httpfield.IsToken(name) || canonical == "Host" {
			return nil, fmt.Errorf("headers: %q is no name of a header, or Host, which is hostname", name)
		}
	}
	var err, err2 error
	c.headers, err = compileValues("headers", s.Headers, httpfield.Canonical, paths)
	c.query, err2 = compileValues("query", s.Query, func(name string) string { return name }, paths)
	if err = errors.Join(err, err2); err == nil && c.isEmpty() {
		err = errors.New("there is no condition in it")
	}
	return c, err
}

func (c *conditions) isEmpty() bool {
	return len(c.methods)+len(c.protocols)+len(c.ports)+len(c.headers)+len(c.query) == 0
}

func compileValues(key string, values map[string]string, form func(string) string, paths *pathBudget) ([]valueCondition, error) {
	var out []valueCondition
	for _, name := range slices.Sorted(maps.Keys(values)) {
		v := valueCondition{name: form(name), text: values[name]}
		if text, is := strings.CutPrefix(v.text, "~"); is {
			err := paths.take(text)
			if err == nil {
				v.expression, err = regexp.Compile(text)
			}
			if err != nil {
				return nil, fmt.Errorf("%s: %s: %w", key, name, err)
			}
		}
		out = append(out, v)
	}
	return out, nil
}
