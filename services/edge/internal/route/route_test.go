package route_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/culvert-tunnel/culvert/pkg/tunnel"
	"github.com/culvert-tunnel/culvert/services/edge/internal/route"
)

func TestCanonical(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"example.com":                "example.com",
		"EXAMPLE.com":                "example.com",
		"example.com:8080":           "example.com",
		"example.com.":               "example.com",
		"Example.COM.:443":           "example.com",
		"bücher.example":             "xn--bcher-kva.example",
		"BÜCHER.example:80":          "xn--bcher-kva.example",
		"xn--bcher-kva.example":      "xn--bcher-kva.example",
		"a_b.example":                "a_b.example",
		"127.0.0.1:8080":             "127.0.0.1",
		"[::1]:8080":                 "[::1]",
		"[::1]":                      "[::1]",
		"[0:0:0:0:0:0:0:1]":          "[::1]",
		"localhost":                  "localhost",
		"":                           "",
		".":                          "",
		":80":                        "",
		"a..b":                       "",
		".a":                         "",
		"a b":                        "",
		"a/b":                        "",
		"a@b":                        "",
		"a%41":                       "",
		"[::1":                       "",
		"[fe80::1%25eth0]":           "",
		"::1":                        "",
		"example.com:http":           "",
		strings.Repeat("a", 64):      "",
		strings.Repeat("a.", 130):    "",
		"*.example.com":              "",
		"\xff\xfe":                   "",
		strings.Repeat("ü", 1<<12):   "",
		"example.com\r\nX-Injected:": "",
	} {
		got, err := route.Canonical(in)
		if got != want || (err != nil) != (want == "") {
			t.Errorf("Canonical(%q) = %q, %v; want %q", in, got, err, want)
		}
		if err != nil && !errors.Is(err, route.ErrHost) {
			t.Errorf("Canonical(%q): error %v is not ErrHost", in, err)
		}
	}
}

func TestCanonicalPattern(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"*":               "*",
		" * ":             "*",
		"*.Example.com.":  "*.example.com",
		"*.bücher.de":     "*.xn--bcher-kva.de",
		"app.example.com": "app.example.com",
		"*.com":           "*.com",
		"*.":              "",
		"**":              "",
		"a.*.b":           "",
		"*.*.b":           "",
		"*.[::1]":         "",
		"http://a.b":      "",
		"":                "",
	} {
		got, err := route.CanonicalPattern(in)
		if got != want || (err != nil) != (want == "") {
			t.Errorf("CanonicalPattern(%q) = %q, %v; want %q", in, got, err, want)
		}
	}
}

func TestLookup(t *testing.T) {
	t.Parallel()
	id := func(n byte) tunnel.ID { return tunnel.ID{n} }
	entries := []route.Entry{
		{Pattern: "app.example.com", Tunnel: id(1)},
		{Pattern: "*.example.com", Tunnel: id(2)},
		{Pattern: "*.deep.example.com", Tunnel: id(3)},
	}
	withAll := append([]route.Entry{{Pattern: "*", Tunnel: id(9)}}, entries...)
	for _, c := range []struct {
		host          string
		want, wantAll byte
	}{
		{"app.example.com", 1, 1},
		{"other.example.com", 2, 2},
		{"a.b.example.com", 2, 2},
		{"x.deep.example.com", 3, 3},
		{"deep.example.com", 2, 2},
		{"example.com", 0, 9},
		{"notexample.com", 0, 9},
		{"com", 0, 9},
		{"[::1]", 0, 9},
	} {
		for want, table := range map[byte]*route.Table{c.want: route.NewTable(entries), c.wantAll: route.NewTable(withAll)} {
			got, ok := table.Lookup(c.host)
			if c.want == c.wantAll {
				want = c.want
			}
			if got.Tunnel != id(want) || ok != (want != 0) {
				t.Errorf("Lookup(%q) = %v, %v; want tunnel %d", c.host, got, ok, want)
			}
		}
	}
	if _, ok := (&route.Table{}).Lookup("a.b"); ok {
		t.Error("the zero table matched a host")
	}
}

func FuzzCanonical(f *testing.F) {
	for _, s := range []string{"example.com:80", "[::1]:1", "bücher.de", "*.a", "a..b", "xn--a", "\xff"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		h, err := route.Canonical(s)
		if err != nil {
			return
		}
		again, err := route.Canonical(h)
		if err != nil || again != h {
			t.Errorf("Canonical(%q) = %q, but Canonical of that = %q, %v", s, h, again, err)
		}
		if strings.ContainsAny(h, "/@ \r\n\x00*") {
			t.Errorf("Canonical(%q) = %q holds a forbidden character", s, h)
		}
	})
}

func BenchmarkLookup(b *testing.B) {
	table := route.NewTable([]route.Entry{{Pattern: "*.example.com"}, {Pattern: "a.example.org"}})
	b.ReportAllocs()
	for b.Loop() {
		h, err := route.Canonical("www.app.example.com")
		if err != nil {
			b.Fatal(err)
		}
		table.Lookup(h)
	}
}
