package access

import (
	"strings"
	"testing"
)

func TestTarget(t *testing.T) {
	for text, want := range map[string]string{
		"ssh.example.com": "https://ssh.example.com", "http://ssh.example.com:8443/x": "https://ssh.example.com:8443/x",
		"https://bücher.example": "https://xn--bcher-kva.example", "::1": "https://[::1]", "127.0.0.1:443": "https://127.0.0.1:443",
	} {
		if u, err := target(text); err != nil || u.String() != want {
			t.Errorf("%s: %v, %v, want %s", text, u, err, want)
		}
	}
	for text, want := range map[string]string{
		"": "use --hostname", "ssh://a.example.com": "neither http nor https", "https://": "use --hostname", "a b": "invalid",
	} {
		if u, err := target(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, %v, want an error with %q", text, u, err, want)
		}
	}
}

func TestListenAddress(t *testing.T) {
	for text, want := range map[string]string{
		"localhost:2222": "localhost:2222", "tcp://127.0.0.1:9": "127.0.0.1:9", "rdp://localhost": "localhost:3389", "[::1]:22": "[::1]:22",
		"ssh://[::1]": "[::1]:22", "smb://localhost/": "localhost:445",
	} {
		if got, err := listenAddress(text); err != nil || got != want {
			t.Errorf("%s: %s, %v, want %s", text, got, err, want)
		}
	}
	for _, text := range []string{"", "localhost", "tcp://localhost"} {
		if got, err := listenAddress(text); err == nil {
			t.Errorf("%q: %s, want an error", text, got)
		}
	}
}

func TestOverride(t *testing.T) {
	for text, want := range map[string][2]string{
		"127.0.0.1": {"127.0.0.1", ""}, "127.0.0.1:8": {"127.0.0.1:8", ""}, "name:8:127.0.0.1": {"127.0.0.1:8", "name"},
	} {
		u, err := target("a.example.com")
		if err != nil {
			t.Fatal(err)
		}
		if name, err := override(u, text); err != nil || u.Host != want[0] || name != want[1] {
			t.Errorf("%s: %s, %s, %v", text, u.Host, name, err)
		}
	}
}

func FuzzTarget(f *testing.F) {
	for _, seed := range []string{"ssh.example.com", "http://[::1]:2/x?y", "://", "a:b:c", "ü.example"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		u, err := target(text)
		if err == nil && (u.Scheme != "https" || u.Host == "" || strings.ContainsAny(u.Host, " /\r\n")) {
			t.Errorf("%q: %q", text, u)
		}
		_, _ = listenAddress(text)
		for name, vals := range headers([]string{text}) {
			if strings.Contains(name, ":") || len(vals) != 1 {
				t.Errorf("%q: field %q with %d values", text, name, len(vals))
			}
		}
	})
}
