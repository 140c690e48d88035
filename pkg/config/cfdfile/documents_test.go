package cfdfile_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/culvert-tunnel/culvert/pkg/config/cfdfile"
)

func TestParseAll(t *testing.T) {
	for name, tc := range map[string]struct {
		content string
		tunnels []string
		err     string // a part of it
	}{
		"empty":        {"", nil, ""},
		"one document": {"tunnel: a\ningress: [{service: http_status:404}]\n", []string{"a"}, ""},
		"several": {
			"tunnel: a\ningress: [{service: http_status:404}]\n---\ntunnel: b\nprotocol: quic\n---\n# nothing\n---\ningress: []\n",
			[]string{"a", "b", ""},
			"",
		},
		"bad value in the second": {
			"tunnel: a\n---\ntunnel: b\noriginRequest:\n  connectTimeout: soon\n", nil, "line 5, column 19",
		},
		"bad syntax in the second":   {"tunnel: a\n---\ntunnel: [\n", nil, "document 2: "},
		"bad syntax in the first":    {"tunnel: [\n---\ntunnel: b\n", nil, "line 2"},
		"the second is a list":       {"tunnel: a\n---\n- b\n", nil, "line 3, column 1: cannot unmarshal !!seq into configuration"},
		"too many documents to hold": {strings.Repeat("---\na: 1\n", 10_001), nil, "more than 10000 documents"},
	} {
		t.Run(name, func(t *testing.T) {
			files, err := cfdfile.ParseAll("rules.yml", []byte(tc.content))
			var fault *cfdfile.Error
			if (err == nil) != (tc.err == "") || err != nil && (!errors.As(err, &fault) || !strings.Contains(err.Error(), tc.err)) {
				t.Fatalf("error %v, want %q", err, tc.err)
			}
			var tunnels []string
			for _, f := range files {
				tunnels = append(tunnels, f.Tunnel)
			}
			if d := cmp.Diff(tc.tunnels, tunnels); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestFor(t *testing.T) {
	const one, two = "00000000-0000-0000-0000-000000000001", "00000000-0000-0000-0000-000000000002"
	const three = "00000000-0000-0000-0000-000000000003" // has no document
	file, err := cfdfile.Parse("f", []byte("tunnel: "+one+"\n---\ntunnel: "+two+"\nurl: x\n"))
	if err != nil || file.OthersFault != nil {
		t.Fatal(err, file.OthersFault)
	}
	for id, want := range map[string]string{one: one, two: two, three: one} {
		if got := file.For(id).Tunnel; got != want {
			t.Errorf("document for %s names %s, want %s", id, got, want)
		}
	}
	if file, err = cfdfile.Parse("f", []byte("tunnel: x\n---\n- what cloudflared ignores\n")); err != nil || file.OthersFault == nil {
		t.Errorf("a fault in the second document: %v, %v", err, file.OthersFault)
	}
}

// FuzzParseAll: the first document is what Parse makes of the same content, unless a later one cannot be decoded.
func FuzzParseAll(f *testing.F) {
	for _, s := range []string{"", everyKey, "a: 1\n---\nb: 2\n", "---\n---\ntunnel: x", "tunnel: a\n---\n- b\n", "a: &x [1]\n---\nb: *x\n"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, content []byte) {
		files, err := cfdfile.ParseAll("f", content)
		if err != nil {
			return
		}
		first, err := cfdfile.Parse("f", content)
		if err != nil {
			t.Fatalf("ParseAll accepts what Parse refuses: %v", err)
		}
		if len(files) > 0 && !first.Empty {
			first.Others = nil
			if d := cmp.Diff(first, files[0]); d != "" {
				t.Error(d)
			}
		}
	})
}
