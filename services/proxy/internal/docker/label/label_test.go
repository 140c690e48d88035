package label_test

import (
	"fmt"
	"maps"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/culvert-tunnel/culvert/services/proxy/internal/docker/label"
)

// web is a container that exposes port 80 in one network.
func web(labels ...string) label.Container {
	c := label.Container{
		ID: "0123456789abcdef", Name: "web", State: label.Serving, Labels: map[string]string{}, Mode: "net",
		Networks: []label.Network{{Name: "net", Addr: netip.MustParseAddr("172.18.0.2")}}, Ports: []label.Port{{Private: 80}},
	}
	for i := 0; i < len(labels); i += 2 {
		c.Labels[labels[i]] = labels[i+1]
	}
	return c
}

// texts shows routes and problems in one line each.
func texts(all []label.Container, o label.Options) []string {
	if o.HostAddress == "" {
		o.HostAddress = "127.0.0.1"
	}
	out := []string{}
	routes, problems := label.Routes(all, o)
	for _, r := range routes {
		out = append(out, fmt.Sprintf("container %s: %s%s -> %s", r.Container, r.Spec.Hostname, r.Spec.Path, r.Spec.Service))
	}
	for _, p := range problems {
		out = append(out, fmt.Sprintf("%s: %s: %s", p.Container, p.Label, p.Text))
	}
	return out
}

func TestRouters(t *testing.T) {
	const host, name, to = "culvert.hostname", "a.example.com", "container web: a.example.com -> "
	const every = " matches every host, as only the last rule of the configuration file may"
	for what, tc := range map[string]struct {
		labels []string
		want   []string
	}{
		"none":             {nil, nil},
		"labels of others": {[]string{"traefik.enable", "true"}, nil},
		"hostname":         {[]string{host, name}, []string{to + "http://172.18.0.2:80"}},
		"case":             {[]string{"Culvert.HostName", name}, []string{to + "http://172.18.0.2:80"}},
		"off":              {[]string{host, name, "culvert.enable", "false"}, nil},
		"on":               {[]string{host, name, "culvert.enable", "true"}, []string{to + "http://172.18.0.2:80"}},
		"neither":          {[]string{host, name, "culvert.enable", "yes"}, []string{`web: culvert.enable: "yes" is neither true nor false`}},
		"port":             {[]string{host, name, "culvert.port", "8080"}, []string{to + "http://172.18.0.2:8080"}},
		"port 0":           {[]string{host, name, "culvert.port", "0"}, []string{`web: culvert.port: "0" is no port`}},
		"scheme":           {[]string{host, name, "culvert.scheme", "SSH", "culvert.port", "22"}, []string{to + "ssh://172.18.0.2:22"}},
		"bad scheme": {
			[]string{host, name, "culvert.scheme", "unix"}, []string{`web: culvert.scheme: "unix" is none of http, https, h2c, tcp, ssh, rdp, smb`},
		},
		"service":              {[]string{host, name, "culvert.service", "https://{address}:8443"}, []string{to + "https://172.18.0.2:8443"}},
		"service without port": {[]string{host, name, "culvert.service", "h2c://{address}"}, []string{to + "h2c://172.18.0.2:80"}},
		"status":               {[]string{host, name, "culvert.service", "http_status:403"}, []string{to + "http_status:403"}},
		"path": {
			[]string{host, name, "culvert.path", "^/api"}, []string{"container web: a.example.com^/api -> http://172.18.0.2:80"},
		},
		"no hostname": {[]string{"culvert.port", "80"}, []string{"web: culvert.hostname: it is missing"}},
		"only on":     {[]string{"culvert.enable", "true"}, []string{"web: culvert.hostname: it is missing"}},
		"several hostnames": {
			[]string{host, "a.example.com, *.b.example.com"},
			[]string{to + "http://172.18.0.2:80", "container web: *.b.example.com -> http://172.18.0.2:80"},
		},
		"several routers": {
			[]string{
				host, name, "culvert.routers.api.hostname", "api.example.com", "culvert.routers.api.port", "9000",
				"culvert.routers.ssh.hostname", "ssh.example.com", "culvert.routers.ssh.service", "ssh://{address}:22",
			},
			[]string{
				to + "http://172.18.0.2:80", "container web: api.example.com -> http://172.18.0.2:9000",
				"container web: ssh.example.com -> ssh://172.18.0.2:22",
			},
		},
		"a mistake in one of them": {
			[]string{host, name, "culvert.routers.api.hostname", "api.example.com", "culvert.routers.api.prot", "9000"},
			[]string{to + "http://172.18.0.2:80", "web: culvert.routers.api.prot: there is no such label"},
		},
		"misspelled protection": {
			[]string{host, name, "culvert.acess.required", "true"}, []string{"web: culvert.acess.required: there is no such label"},
		},
		"misspelled key": {
			[]string{host, name, "culvert.originRequest.noTLSverif", "true"},
			[]string{"web: culvert.*: originrequest.noTLSverif: there is no such key"},
		},
		"every host":     {[]string{host, "*"}, []string{`web: culvert.hostname: "*"` + every}},
		"an empty host":  {[]string{host, "a.example.com,"}, []string{`web: culvert.hostname: ""` + every}},
		"tunnel by name": {[]string{host, name, "culvert.tunnel", "shop"}, []string{`web: culvert.tunnel: tunnel id: "shop" is not a UUID`}},
		"priority":       {[]string{host, name, "culvert.priority", "high"}, []string{`web: culvert.priority: "high" is no whole number`}},
	} {
		t.Run(what, func(t *testing.T) {
			want := tc.want
			if want == nil {
				want = []string{}
			}
			if d := cmp.Diff(want, texts([]label.Container{web(tc.labels...)}, label.Options{})); d != "" {
				t.Error(d)
			}
		})
	}
}

// TestLabelsLeadToTheirContainer lists what a label must not do: the author of an image is not the operator of the host.
func TestLabelsLeadToTheirContainer(t *testing.T) {
	for _, labels := range [][]string{
		{"culvert.service", "http://192.168.1.1"},
		{"culvert.service", "unix:/var/run/docker.sock"},
		{"culvert.service", "unix:{address}"},
		{"culvert.service", "file:///etc"},
		{"culvert.service", "bastion"},
		{"culvert.service", "socks-proxy"},
		{"culvert.service", "http://{address}@192.168.1.1"},
		{"culvert.service", "http://{address}.example.com:80"},
		{"culvert.service", "http://user@{address}:80"},
		{"culvert.scheme", "http://192.168.1.1/"},
		{"culvert.port", "80@192.168.1.1"},
		{"culvert.services", "http://192.168.1.1"},
		{"culvert.originRequest.bastionMode", "true"},
		{"culvert.originRequest.proxyType", "socks"},
		{"culvert.originRequest", `{"bastionMode":true}`},
	} {
		routes, problems := label.Routes([]label.Container{web(append(labels, "culvert.hostname", "a.example.com")...)}, label.Options{})
		if len(routes) != 0 || len(problems) != 1 {
			t.Errorf("%v: routes %+v, problems %+v, want none and one", labels, routes, problems)
		}
	}
}

func TestHostnames(t *testing.T) {
	o := label.Options{Hostnames: []string{"*.apps.example.com", "www.example.com"}}
	for host, allowed := range map[string]bool{
		"a.apps.example.com": true, "A.Apps.Example.com.": true, "x.y.apps.example.com": true, "*.apps.example.com": true,
		"www.example.com": true, "apps.example.com": false, "bad.example.com": false, "evilapps.example.com": false, "*.example.com": false,
	} {
		routes, problems := label.Routes([]label.Container{web("culvert.hostname", host)}, o)
		if (len(routes) == 1) != allowed || (len(problems) == 0) != allowed {
			t.Errorf("%s: routes %+v, problems %+v, allowed %v", host, routes, problems, allowed)
		}
	}
}

func TestAddresses(t *testing.T) {
	two := func(c *label.Container) {
		c.Networks = append(c.Networks, label.Network{Name: "shop_front", Addr: netip.MustParseAddr("172.19.0.2")})
		c.Labels["com.docker.compose.project"] = "shop"
	}
	self := label.Container{
		ID: "fedcba987654321", Name: "culvert", State: label.Serving,
		Networks: []label.Network{{Name: "shop_front", Addr: netip.MustParseAddr("172.19.0.9")}},
	}
	for what, tc := range map[string]struct {
		change func(c *label.Container)
		o      label.Options
		others []label.Container
		want   string
	}{
		"the only network": {want: "-> http://172.18.0.2:80"},
		"several networks": {change: two, want: "culvert.network: it is in several networks (net, shop_front): name one with culvert.network"},
		"the label": {
			change: func(c *label.Container) { two(c); c.Labels["culvert.network"] = "shop_front" }, want: "-> http://172.19.0.2:80",
		},
		"the label, as compose knows it": {
			change: func(c *label.Container) { two(c); c.Labels["culvert.network"] = "front" }, want: "-> http://172.19.0.2:80",
		},
		"the label names another one": {
			change: func(c *label.Container) { c.Labels["culvert.network"] = "back" },
			want:   `culvert.network: it has no address in the network "back", only in: net`,
		},
		"the setting": {change: two, o: label.Options{Network: "shop_front"}, want: "-> http://172.19.0.2:80"},
		"shared with culvert": {
			change: two, o: label.Options{Self: "fedcba98"}, others: []label.Container{self}, want: "-> http://172.19.0.2:80",
		},
		"no address yet": {
			change: func(c *label.Container) { c.Networks[0].Addr = netip.Addr{} }, want: "culvert.network: it has no address in any network",
		},
		"IPv6": {
			change: func(c *label.Container) { c.Networks[0].Addr = netip.MustParseAddr("fd00::2") }, want: "-> http://[fd00::2]:80",
		},
		"network of the host": {change: func(c *label.Container) { c.Mode, c.Networks = "host", nil }, want: "-> http://127.0.0.1:80"},
		"network of another container": {
			change: func(c *label.Container) { c.Mode, c.Networks = "container:fedcba987654321", nil }, others: []label.Container{self},
			want: "-> http://172.19.0.9:80",
		},
		"network of a container that is gone": {
			change: func(c *label.Container) { c.Mode, c.Networks = "container:fedcba987654321", nil },
			want:   "culvert.network: it uses the network of container fedcba987654, which does not run",
		},
		"published": {
			change: func(c *label.Container) {
				c.Ports = []label.Port{{Private: 80, Public: 32768, HostIP: netip.MustParseAddr("0.0.0.0")}}
			},
			o: label.Options{Published: true, HostAddress: "host.docker.internal"}, want: "-> http://host.docker.internal:32768",
		},
		"not published": {o: label.Options{Published: true}, want: "culvert.network: port 80 is not published"},
		"several ports": {
			change: func(c *label.Container) { c.Ports = []label.Port{{Private: 80}, {Private: 9090}} },
			want:   "culvert.port: it is missing, and the container exposes several ports: 80, 9090",
		},
		"no port":  {change: func(c *label.Container) { c.Ports = nil }, want: "culvert.port: it is missing, and the container exposes no port"},
		"starting": {change: func(c *label.Container) { c.State = label.Starting }},
		"ill":      {change: func(c *label.Container) { c.State = label.Unhealthy }},
		"paused":   {change: func(c *label.Container) { c.State = label.Paused }},
	} {
		t.Run(what, func(t *testing.T) {
			c := web("culvert.hostname", "a.example.com")
			if tc.change != nil {
				tc.change(&c)
			}
			got := texts(append([]label.Container{c}, tc.others...), tc.o)
			if want := tc.want; (len(got) == 0) != (want == "") || len(got) > 1 || want != "" && !strings.HasSuffix(got[0], want) {
				t.Errorf("got %q, want %q", got, want)
			}
		})
	}
}

// TestOneContainerHarmsNoOther has a container with every kind of mistake before and after a good one.
func TestOneContainerHarmsNoOther(t *testing.T) {
	bad := web("culvert.hostname", "b.example.com")
	bad.Name, bad.Created = "bad", -1
	for i := range 2000 {
		bad.Labels[fmt.Sprintf("culvert.routers.r%d.hostname", i)] = "x"
	}
	long := web("culvert.hostname", strings.Repeat("a,", 40_000))
	long.Name = "long"
	many := web("culvert.hostname", strings.Repeat("a.example.com,", 1000)+"b")
	many.Name = "many"
	got := texts([]label.Container{bad, long, many, web("culvert.hostname", "a.example.com")}, label.Options{})
	want := []string{
		"container web: a.example.com -> http://172.18.0.2:80",
		"bad: culvert.: more than 1000 labels",
		"long: culvert.: the text of culvert.hostname is longer than 65536 bytes",
		"many: culvert.hostname: a container has at most 100 rules",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

// FuzzRoutes reads any label: every route leads to the container, and a good container beside it keeps its route.
func FuzzRoutes(f *testing.F) {
	for _, l := range []string{"hostname", "port", "service", "routers.a.scheme", "network", "actions.rewrite", "originRequest.ipRules"} {
		f.Add("culvert."+l, "x")
	}
	f.Add("culvert.service", "http://{address}:80")
	f.Add("culvert.originRequest", `{"bastionMode":true}`)
	f.Fuzz(func(t *testing.T, name, text string) {
		labels := map[string]string{"culvert.hostname": "a.example.com", "culvert.routers.a.hostname": "b.example.com"}
		maps.Copy(labels, map[string]string{name: text})
		fuzzed, good := web(), web("culvert.hostname", "good.example.com")
		fuzzed.Labels, good.Name = labels, "good"
		routes, _ := label.Routes([]label.Container{fuzzed, good}, label.Options{})
		found := false
		for _, r := range routes {
			found = found || r.Container == "good"
			if _, at, is := strings.Cut(r.Spec.Service, "://"); is && !strings.HasPrefix(at, "172.18.0.2:") {
				t.Errorf("%q=%q leads to %s", name, text, r.Spec.Service)
			}
			if len(r.Spec.Services) > 0 {
				t.Errorf("%q=%q has services %v", name, text, r.Spec.Services)
			}
		}
		if !found {
			t.Errorf("%q=%q: the other container has no route", name, text)
		}
	})
}
