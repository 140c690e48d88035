package policy_test

import (
	"errors"
	"net/netip"
	"strings"
	"testing"

	"github.com/culvert-tunnel/culvert/services/proxy/internal/policy"
)

func compile(t *testing.T, c policy.Config) *policy.Policy {
	t.Helper()
	p, err := policy.New(c)
	if err != nil {
		t.Fatalf("New(%+v): %v", c, err)
	}
	return p
}

// check compares a decision with the wanted one.
func check(t *testing.T, what string, err error, allowed bool) {
	t.Helper()
	if allowed != (err == nil) || err != nil && !errors.Is(err, policy.ErrDenied) {
		t.Errorf("%s: %v, want allowed %v", what, err, allowed)
	}
}

func TestEverythingIsAllowedByDefault(t *testing.T) {
	for name, p := range map[string]*policy.Policy{"nil": nil, "empty": compile(t, policy.Config{})} {
		check(t, name+" address", p.Addr(netip.MustParseAddr("127.0.0.1")), true)
		check(t, name+" host", p.Host("localhost"), true)
		check(t, name+" socket", p.Unix("/run/admin.sock"), true)
		check(t, name+" file", p.File("relative.pem"), true)
		if p.LimitsNetwork() {
			t.Errorf("%s policy limits the network", name)
		}
	}
}

func TestNetworks(t *testing.T) {
	for _, tc := range []struct {
		allow, deny string
		addr        string
		allowed     bool
	}{
		{"", "127.0.0.0/8", "127.0.0.1", false},
		{"", "127.0.0.0/8", "::ffff:127.0.0.1", false},
		{"", "::ffff:127.0.0.0/104", "127.0.0.1", false},
		{"", "127.0.0.0/8", "::1", true},
		{"", "127.0.0.0/8", "10.0.0.1", true},
		{"10.0.0.0/8", "", "10.1.2.3", true},
		{"10.0.0.0/8", "", "192.0.2.1", false},
		{"10.0.0.0/8", "", "2001:db8::1", false},
		{"10.0.0.0/8,2001:db8::/32", "10.9.0.0/16", "10.9.1.1", false},
		{"10.0.0.0/8,2001:db8::/32", "10.9.0.0/16", "2001:db8::1", true},
		{"fe80::/10", "", "fe80::1%eth0", true},
		{"10.1.2.3/8", "", "10.200.0.1", true},
		{"none", "", "10.0.0.1", false},
		{"", "none", "10.0.0.1", true},
		{"0.0.0.0/0", "", "0.0.0.0", true},
	} {
		p := compile(t, policy.Config{AllowNetworks: split(tc.allow), DenyNetworks: split(tc.deny)})
		check(t, tc.addr+" with allow "+tc.allow+", deny "+tc.deny, p.Addr(netip.MustParseAddr(tc.addr)), tc.allowed)
		if !p.LimitsNetwork() {
			t.Errorf("allow %s, deny %s: limits nothing", tc.allow, tc.deny)
		}
	}
}

func TestHosts(t *testing.T) {
	for _, tc := range []struct {
		allow, deny string
		host        string
		allowed     bool
	}{
		{"app.test", "", "app.test", true},
		{"app.test", "", "APP.test.", true},
		{"app.test", "", "x.app.test", false},
		{"*.app.test", "", "x.y.app.test", true},
		{"*.app.test", "", "app.test", false},
		{"*.app.test", "", "evilapp.test", false},
		{"app.test", "", "127.0.0.1", true}, // an address is the networks' matter
		{"app.test", "", "[::1]", true},
		{"none", "", "localhost", false},
		{"", "localhost", "LocalHost", false},
		{"", "localhost", "app.test", true},
		{"*.test", "metadata.test", "metadata.test", false},
		{"", "*.internal", "metadata.google.internal", false},
	} {
		p := compile(t, policy.Config{AllowHosts: split(tc.allow), DenyHosts: split(tc.deny)})
		check(t, tc.host+" with allow "+tc.allow+", deny "+tc.deny, p.Host(tc.host), tc.allowed)
	}
}

func TestPaths(t *testing.T) {
	for _, tc := range []struct {
		allow, path string
		allowed     bool
	}{
		{"/run/app.sock", "/run/app.sock", true},
		{"/run/app.sock", "/run//./app.sock", true},
		{"/run/app.sock", "/run/app.sock2", false},
		{"/run/app/", "/run/app/a/b.sock", true},
		{"/run/app/", "/run/app/../admin.sock", false},
		{"/run/app/", "/run/app", false},
		{"/run/app", "/run/app/x", false},
		{"/run/app/", "run/app/x", false},
		{"/run/app/", "@run/app/x", false},
		{"/run/app/", "/run/app/x\x00y", false},
		{"/", "/run/x", true},
		{"none", "/run/x", false},
	} {
		p := compile(t, policy.Config{AllowUnix: split(tc.allow), AllowFiles: split(tc.allow)})
		check(t, "socket "+tc.path+" with "+tc.allow, p.Unix(tc.path), tc.allowed)
		check(t, "file "+tc.path+" with "+tc.allow, p.File(tc.path), tc.allowed)
	}
}

func TestValidateReportsAllProblems(t *testing.T) {
	err := policy.Config{
		AllowNetworks: []string{"10.0.0.0/8", "10.0.0.1"}, DenyNetworks: []string{"none", "::/0"}, AllowHosts: []string{"127.0.0.1", "a*b"},
		DenyHosts: []string{"*."}, AllowUnix: []string{"run/x"}, AllowFiles: []string{""},
	}.Validate()
	if err == nil {
		t.Fatal("accepted")
	}
	for _, want := range []string{
		`allow_networks: 1: "10.0.0.1"`, `deny_networks: 0: "none"`, `allow_hosts: 0: "127.0.0.1"`, `allow_hosts: 1: "a*b"`,
		`deny_hosts: 0: "*."`,
		`allow_unix: 0: "run/x"`, `allow_files: 0: ""`,
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("no %s in:\n%v", want, err)
		}
	}
}

func split(s string) []string {
	if s == "" {
		return nil
	}
	return strings.Split(s, ",")
}
