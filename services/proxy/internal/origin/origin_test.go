package origin_test

import (
	"errors"
	"log/slog"
	"testing"

	"github.com/culvert-tunnel/culvert/pkg/ingress"
	"github.com/culvert-tunnel/culvert/services/proxy/internal/opener"
	"github.com/culvert-tunnel/culvert/services/proxy/internal/origin"
)

// made makes the origin of a service text with settings.
func made(t *testing.T, service string, spec ingress.OriginSpec) *origin.Origin {
	t.Helper()
	set, err := ingress.Compile(ingress.Document{Ingress: []ingress.RuleSpec{{Service: service, OriginRequest: spec}}})
	if err != nil {
		t.Fatalf("Compile(%s): %v", service, err)
	}
	o, err := opener.New(slog.New(slog.DiscardHandler), nil).Open(set.Rules[0].Service, set.Rules[0].Origin, nil)
	if err != nil {
		t.Fatalf("New(%s): %v", service, err)
	}
	t.Cleanup(o.Close)
	return o
}

func TestAbilities(t *testing.T) {
	for service, want := range map[string]origin.Kind{
		"http://x:1": origin.KindHTTP, "https://x": origin.KindHTTP, "ws://x": origin.KindHTTP, "h2c://x:1": origin.KindHTTP,
		"unix:/x": origin.KindHTTP, "unix+tls:/x": origin.KindHTTP,
		"http_status:404": origin.KindStatus, "hello_world": origin.KindHandler,
		"tcp://x:1": origin.KindStream, "ssh://x": origin.KindStream, "bastion": origin.KindStream, "socks-proxy": origin.KindStream,
	} {
		if o := made(t, service, ingress.OriginSpec{}); o.Kind != want || o.Text != service && service != "ssh://x" {
			t.Errorf("%s: ability %d, text %s, want ability %d", service, o.Kind, o.Text, want)
		}
	}
}

func TestTarget(t *testing.T) {
	yes, name := true, "fixed.test"
	match := ingress.OriginSpec{MatchSNIToHost: &yes}
	for _, tc := range []struct {
		service string
		spec    ingress.OriginSpec
		host    string
		want    string // scheme://host, or an error
	}{
		{"http://127.0.0.1:81", ingress.OriginSpec{}, "a.test", "http://127.0.0.1:81"},
		{"wss://o.test", ingress.OriginSpec{}, "a.test", "https://o.test"},
		{"unix:/x", match, "a.test", "http://localhost"},
		{"unix+tls:/x", ingress.OriginSpec{}, "A.test:8443", "https://a.test"},
		{"unix+tls:/x", ingress.OriginSpec{OriginServerName: &name}, "a.test", "https://localhost"},
		{"https://127.0.0.1:81", match, "A.Test.:8443", "https://a.test:81"},
		{"https://o.test", match, "[2001:DB8::1]:443", "https://[2001:db8::1]"},
		{"https://o.test", match, "", "https://o.test"},
		{"https://o.test", match, "a b", "error"},
		{"https://o.test", match, "a.test/evil@x", "error"},
		{"https://o.test", match, ".", "error"},
		{"https://o.test", match, "[fe80::1%25eth0]", "error"},
		{"http://o.test:1", match, "a.test", "http://o.test:1"},
	} {
		scheme, host, err := made(t, tc.service, tc.spec).Target(tc.host)
		got := scheme + "://" + host
		if err != nil {
			got = "error"
			if !errors.Is(err, origin.ErrHostName) {
				t.Errorf("Target: %v", err)
			}
		}
		if got != tc.want {
			t.Errorf("%s, Host %q: %s, want %s", tc.service, tc.host, got, tc.want)
		}
	}
}

func FuzzTarget(f *testing.F) {
	f.Add("a.test:443")
	f.Add("[::1]")
	f.Add("x/..@y#z")
	set, err := ingress.Compile(ingress.Document{Ingress: []ingress.RuleSpec{{Service: "unix+tls:/x"}}})
	if err != nil {
		f.Fatal(err)
	}
	o, err := opener.New(slog.New(slog.DiscardHandler), nil).Open(set.Rules[0].Service, set.Rules[0].Origin, nil)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, host string) {
		_, target, err := o.Target(host)
		if err != nil {
			return
		}
		for _, c := range []byte(target) {
			if c <= ' ' || c >= 0x7f || c == '/' || c == '@' || c == '?' || c == '#' || c == '%' {
				t.Errorf("Target(%q) = %q", host, target)
			}
		}
	})
}
