package label

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/culvert-tunnel/culvert/pkg/ingress"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

const (
	// Prefix is what all labels begin with.
	Prefix = "culvert."
	// maxRoutes bounds the routes of one container, and maxAll those of all together.
	maxRoutes, maxAll = 100, 10_000
	// maxLabels bounds the labels of one container that are looked at, and maxText the text of each, in bytes.
	maxLabels = 1000
	maxText   = 64 << 10

	routersPart    = "routers."
	address        = "{address}"
	defaultScheme  = "http"
	servicePattern = "SCHEME://" + address + ":PORT"
)

// Route is a rule that the labels of a container ask for.
type Route struct {
	// Tunnel is the tunnel that it serves; the zero one stands for all that have no rules of their own.
	Tunnel tunnel.ID
	// Container is the name of the container, and Label that of the label with the hostname.
	Container, Label string
	Priority         int
	Spec             ingress.RuleSpec
}

// Routes gives what the labels of all containers ask for, in an order that depends on nothing but the containers: the oldest first.
func Routes(all []Container, o Options) ([]Route, []Problem) {
	v := newView(all, o)
	sorted := slices.Clone(all)
	slices.SortFunc(sorted, func(a, b Container) int {
		return cmp.Or(cmp.Compare(a.Created, b.Created), cmp.Compare(a.Name, b.Name), cmp.Compare(a.ID, b.ID))
	})
	var routes []Route
	var problems []Problem
	for i := range sorted {
		r, p := v.container(&sorted[i])
		if len(routes)+len(r) > maxAll {
			p = append(p, Problem{sorted[i].Name, Prefix + "hostname", fmt.Sprintf("there are %d rules of containers already", len(routes))})
			r = nil
		}
		routes, problems = append(routes, r...), append(problems, p...)
	}
	return routes, problems
}

// router is one rule that a container asks for: its own labels by the rest of their name.
type router struct {
	name   string // "" for the one without a name
	labels map[string]string
}

// label is the whole name of one of its labels.
func (r *router) label(key string) string {
	if r.name == "" {
		return Prefix + key
	}
	return Prefix + routersPart + r.name + "." + key
}

// container gives the routes of one container. A router with a mistake is left out, and only that one.
func (v *view) container(c *Container) (routes []Route, problems []Problem) {
	report := func(label string, err error) {
		problems = append(problems, Problem{Container: c.Name, Label: label, Text: err.Error()})
	}
	routers, own, err := split(c.Labels)
	if err != nil {
		report(Prefix, err)
		return nil, problems
	}
	if len(routers) == 0 && len(own) == 0 {
		return nil, nil
	}
	if text, given := own["enable"]; given {
		on, err := strconv.ParseBool(text)
		if err != nil {
			report(Prefix+"enable", fmt.Errorf("%q is neither true nor false", text))
		}
		if err != nil || !on {
			return nil, problems
		}
	}
	c.network = own["network"]
	if c.State != Serving {
		return nil, nil // it is normal, and it will say so
	}
	if len(routers) == 0 {
		report(Prefix+"hostname", errors.New("it is missing"))
	}
	for _, r := range routers {
		if _, given := r.labels["tunnel"]; !given && own["tunnel"] != "" {
			r.labels["tunnel"] = own["tunnel"]
		}
		made, label, err := v.router(c, r)
		if err == nil && len(routes)+len(made) > maxRoutes {
			label, err = r.label("hostname"), fmt.Errorf("a container has at most %d rules", maxRoutes)
		}
		if err != nil {
			report(label, err)
			continue
		}
		routes = append(routes, made...)
	}
	return routes, problems
}

// split sorts the labels: those of each router, and those of the container. Case does not count, but for the names of routers.
func split(labels map[string]string) (routers []*router, own map[string]string, err error) {
	byName, own := map[string]*router{}, map[string]string{}
	count := 0
	for _, label := range slices.Sorted(maps.Keys(labels)) {
		if len(label) < len(Prefix) || !strings.EqualFold(label[:len(Prefix)], Prefix) {
			continue
		}
		rest, text := label[len(Prefix):], labels[label]
		if count++; count > maxLabels {
			return nil, nil, fmt.Errorf("more than %d labels", maxLabels)
		}
		if len(text) > maxText {
			return nil, nil, fmt.Errorf("the text of %.100s is longer than %d bytes", label, maxText)
		}
		name := ""
		if len(rest) > len(routersPart) && strings.EqualFold(rest[:len(routersPart)], routersPart) {
			name, rest, _ = strings.Cut(rest[len(routersPart):], ".")
		}
		if key := strings.ToLower(rest); name == "" && (key == "enable" || key == "network" || key == "tunnel") {
			own[key] = text
			continue
		}
		if byName[name] == nil {
			byName[name] = &router{name: name, labels: map[string]string{}}
		}
		byName[name].labels[lowerFirst(rest)] = text
	}
	for _, name := range slices.Sorted(maps.Keys(byName)) {
		routers = append(routers, byName[name])
	}
	return routers, own, nil
}

// lowerFirst puts the first part of a key in lower case; of the rest, the names of headers and users keep theirs.
func lowerFirst(key string) string {
	first, rest, more := strings.Cut(key, ".")
	if !more {
		return strings.ToLower(first)
	}
	return strings.ToLower(first) + "." + rest
}

// router gives the routes of one router, one for each hostname, or the label that is wrong.
func (v *view) router(c *Container, r *router) (routes []Route, label string, err error) {
	take := func(key string) string {
		text := strings.TrimSpace(r.labels[key])
		delete(r.labels, key)
		return text
	}
	hostnames, path, id := take("hostname"), take("path"), take("tunnel")
	service, scheme, port, priority := take("service"), take("scheme"), take("port"), take("priority")
	spec, label, err := ruleOf(r)
	if err != nil {
		return nil, label, err
	}
	route := Route{Container: c.Name, Spec: spec}
	route.Spec.Path = path
	if priority != "" {
		if route.Priority, err = strconv.Atoi(priority); err != nil {
			return nil, r.label("priority"), fmt.Errorf("%q is no whole number", priority)
		}
	}
	if id != "" {
		if route.Tunnel, err = tunnel.ParseID(id); err != nil {
			return nil, r.label("tunnel"), err
		}
	}
	if route.Spec.Service, label, err = v.service(c, r, service, scheme, port); err != nil {
		return nil, label, err
	}
	label = r.label("hostname")
	if hostnames == "" {
		return nil, label, errors.New("it is missing")
	}
	for name := range strings.SplitSeq(hostnames, ",") {
		name = strings.TrimSpace(name)
		if err := v.allowed(name); err != nil {
			return nil, label, err
		}
		route.Spec.Hostname, route.Label = name, label
		routes = append(routes, route)
	}
	return routes, "", nil
}

// ruleOf reads the labels that are keys of a rule.
func ruleOf(r *router) (ingress.RuleSpec, string, error) {
	keys := make(map[string]string, len(r.labels))
	for key, text := range r.labels {
		first, _, _ := strings.Cut(key, ".")
		switch first {
		case "originrequest", "actions", "balance", "match":
		case "access":
			key = "originRequest." + key
		default:
			return ingress.RuleSpec{}, r.label(key), errors.New("there is no such label")
		}
		keys[key] = text
	}
	spec, err := ingress.ParseRuleKeys(keys)
	if err != nil {
		return spec, r.label("*"), errors.New(strings.ReplaceAll(err.Error(), "\n", "; "))
	}
	if o := spec.OriginRequest; o.BastionMode != nil || o.ProxyType != nil {
		return spec, r.label("originRequest"), errors.New("bastionMode and proxyType let visitors name the destination, which no container may")
	}
	return spec, "", nil
}

// allowed checks a hostname.
func (v *view) allowed(name string) error {
	if name == "" || name == "*" {
		return fmt.Errorf("%q matches every host, as only the last rule of the configuration file may", name)
	}
	if len(v.options.Hostnames) == 0 {
		return nil
	}
	low := strings.TrimSuffix(strings.ToLower(name), ".")
	for _, item := range v.options.Hostnames {
		item = strings.ToLower(item)
		if below, any := strings.CutPrefix(item, "*"); low == item || any && strings.HasSuffix(low, below) {
			return nil
		}
	}
	return fmt.Errorf("%q is none that containers may have (docker.hostnames)", name)
}

// service is the service of a router: a URL of its container, or a fixed response.
func (v *view) service(c *Container, r *router, service, scheme, port string) (text, label string, err error) {
	if strings.HasPrefix(service, "http_status:") || service == "hello_world" {
		return service, "", nil
	}
	label = r.label("port")
	if service != "" {
		label = r.label("service")
		if scheme != "" || port != "" {
			return "", label, errors.New("give either it or scheme and port")
		}
		var found bool
		if scheme, port, found = strings.Cut(service, "://"+address); !found || port != "" && port[0] != ':' {
			return "", label, fmt.Errorf("%q is neither %s nor http_status:CODE nor hello_world", service, servicePattern)
		}
		port = strings.TrimPrefix(port, ":")
	}
	switch scheme = strings.ToLower(cmp.Or(scheme, defaultScheme)); scheme {
	case "http", "https", "h2c", "ws", "wss", "tcp", "ssh", "rdp", "smb":
	default:
		return "", r.label("scheme"), fmt.Errorf("%q is none of http, https, h2c, tcp, ssh, rdp, smb", scheme)
	}
	number, err := c.port(port)
	if err != nil {
		return "", label, err
	}
	at, err := v.address(c, number)
	if err != nil {
		return "", labelNetwork, err
	}
	return scheme + "://" + at, "", nil
}

// port is the port that a text names, or the only one that the container exposes.
func (c *Container) port(text string) (uint16, error) {
	if text != "" {
		n, err := strconv.ParseUint(text, 10, 16)
		if err != nil || n == 0 {
			return 0, fmt.Errorf("%q is no port", text)
		}
		return uint16(n), nil
	}
	var exposed []string
	for _, p := range c.Ports {
		if t := strconv.Itoa(int(p.Private)); !slices.Contains(exposed, t) {
			exposed = append(exposed, t)
		}
	}
	switch len(exposed) {
	case 0:
		return 0, errors.New("it is missing, and the container exposes no port")
	case 1:
		return c.Ports[0].Private, nil
	}
	slices.Sort(exposed)
	return 0, fmt.Errorf("it is missing, and the container exposes several ports: %s", strings.Join(exposed, ", "))
}

// Wanted reports whether Routes looks at a label of this name.
func Wanted(name string) bool {
	return name == composeProject || len(name) >= len(Prefix) && strings.EqualFold(name[:len(Prefix)], Prefix)
}
