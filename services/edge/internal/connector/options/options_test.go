package options_test

import (
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/culvert-tunnel/culvert/pkg/tunnel"
	"github.com/culvert-tunnel/culvert/services/edge/internal/connector/options"
)

func TestEpoch(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name     string
		features []string
		want     tunnel.Epoch
	}{
		{"no features", nil, 0},
		{"no epoch", []string{"serialized_headers"}, 0},
		{"epoch", []string{"serialized_headers", "culvert_epoch=7"}, 7},
		{"not a number", []string{"culvert_epoch=x"}, 0},
		{"negative", []string{"culvert_epoch=-1"}, 0},
		{"not a number, then a number", []string{"culvert_epoch=", "culvert_epoch=9"}, 9},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if got := options.Epoch(c.features); got != c.want {
				t.Errorf("Epoch(%q) = %d, want %d", c.features, got, c.want)
			}
		})
	}
}

func TestWellFormed(t *testing.T) {
	t.Parallel()
	if options.WellFormed(tunnel.ConnectorID{}, nil) {
		t.Error("a registration without connector id is well formed")
	}
	if !options.WellFormed(tunnel.ConnectorID{1}, make([]string, options.MaxFeatures)) {
		t.Error("a registration with the most features is not well formed")
	}
	if options.WellFormed(tunnel.ConnectorID{1}, make([]string, options.MaxFeatures+1)) {
		t.Error("a registration with more features is well formed")
	}
}

func TestTexts(t *testing.T) {
	t.Parallel()
	got := options.Texts([]string{"2026.11.0", "a\x1b[2Jb", "user\u202egpj.exe", "caf\u00e9", "bad\xff", strings.Repeat("x", 200)})
	want := []string{"2026.11.0", "a[2Jb", "usergpj.exe", "caf\u00e9", "bad", strings.Repeat("x", options.MaxText)}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("Texts (-want +got):\n%s", d)
	}
}

func FuzzText(f *testing.F) {
	f.Add("a\u202eb\x00")
	f.Fuzz(func(t *testing.T, s string) {
		got := options.Text(s)
		if len(got) > options.MaxText || !utf8.ValidString(got) || strings.ContainsFunc(got, func(r rune) bool { return !unicode.IsPrint(r) }) {
			t.Errorf("Text(%q) = %q", s, got)
		}
		if options.Text(got) != got {
			t.Errorf("Text(%q) changes when it is read again", s)
		}
	})
}
