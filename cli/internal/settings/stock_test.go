package settings_test

import (
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/culvert-tunnel/culvert/cli/internal/settings"
)

// TestTableHasTheFlagsOfStock compares our table with that of the reference: names, aliases, variables, defaults, and which flags the
// configuration file can have.
func TestTableHasTheFlagsOfStock(t *testing.T) {
	b, err := os.ReadFile("../../../tests/dropin/testdata/flags.txt")
	if err != nil {
		t.Fatal(err)
	}
	ours := make(map[string]settings.Flag)
	for _, f := range settings.Table() {
		ours[f.Name] = f
	}
	// Defaults that are no text of ours: a flag is only in force if it is given, or its value depends on the place of the process.
	without := []string{"url", "metrics"}
	rows := 0
	for line := range strings.Lines(string(b)) {
		c := strings.Split(strings.TrimSpace(line), "\t")
		if strings.HasPrefix(line, "#") {
			continue
		}
		rows++
		f, ok := ours[c[0]]
		if !ok {
			t.Errorf("%s is missing", c[0])
			continue
		}
		if got := joined(f.Aliases); got != c[1] {
			t.Errorf("%s: aliases %s, want %s", c[0], got, c[1])
		}
		if got := joined(f.Env); got != c[2] {
			t.Errorf("%s: variables %s, want %s", c[0], got, c[2])
		}
		if want := strings.TrimPrefix(c[4], "-"); !slices.Contains(without, c[0]) && want != "false" && f.Default != want {
			t.Errorf("%s: default %q, want %q", c[0], f.Default, want)
		}
		if f.NoFile != (c[6] == "no") {
			t.Errorf("%s: not in the file: %v, want %s", c[0], f.NoFile, c[6])
		}
	}
	if rows < 100 {
		t.Errorf("the table has %d rows", rows)
	}
}

func joined(list []string) string {
	if len(list) == 0 {
		return "-"
	}
	return strings.Join(list, ",")
}
