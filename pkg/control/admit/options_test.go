package admit_test

import (
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/culvert-tunnel/culvert/pkg/control/admit"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

func TestWellFormed(t *testing.T) {
	t.Parallel()
	if admit.WellFormed(tunnel.ConnectorID{}, nil) {
		t.Error("a registration without connector id is well formed")
	}
	if !admit.WellFormed(tunnel.ConnectorID{1}, make([]string, admit.MaxFeatures)) {
		t.Error("a registration with the most features is not well formed")
	}
	if admit.WellFormed(tunnel.ConnectorID{1}, make([]string, admit.MaxFeatures+1)) {
		t.Error("a registration with more features is well formed")
	}
}

func TestTexts(t *testing.T) {
	t.Parallel()
	got := admit.Texts([]string{"2026.11.0", "a\x1b[2Jb", "user\u202egpj.exe", "caf\u00e9", "bad\xff", strings.Repeat("x", 200)})
	want := []string{"2026.11.0", "a[2Jb", "usergpj.exe", "caf\u00e9", "bad", strings.Repeat("x", admit.MaxText)}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("Texts (-want +got):\n%s", d)
	}
}

func FuzzText(f *testing.F) {
	f.Add("a\u202eb\x00")
	f.Fuzz(func(t *testing.T, s string) {
		got := admit.Text(s)
		if len(got) > admit.MaxText || !utf8.ValidString(got) || strings.ContainsFunc(got, func(r rune) bool { return !unicode.IsPrint(r) }) {
			t.Errorf("Text(%q) = %q", s, got)
		}
		if admit.Text(got) != got {
			t.Errorf("Text(%q) changes when it is read again", s)
		}
	})
}
