//go:build dropin

package dropin_test

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/culvert-tunnel/culvert/tests/harness"
)

var (
	// helpFlag is a line of a help text that has a flag, and helpNames are the names in it.
	helpFlag  = regexp.MustCompile(`^ +(-{1,2}[a-zA-Z][^\s,]*(?: [^\s,]+)?(?:, -{1,2}[a-zA-Z][^\s,]*(?: [^\s,]+)?)*)  +(.*)$`)
	helpNames = regexp.MustCompile(`(?:^|, )-{1,2}([a-zA-Z0-9][a-zA-Z0-9-]*)`)
	// helpVariables and helpDefault stand at the end of a flag's help, which may have several lines.
	helpVariables = regexp.MustCompile(`\[(\$[A-Z0-9_]+(?:, \$[A-Z0-9_]+)*)\]\s`)
	helpDefault   = regexp.MustCompile(`\(default: ([^()]*)\)`)
)

// helpRow is a flag as a help text shows it.
type helpRow struct {
	name               string
	aliases, variables []string
	value              string
	hasDefault         bool
}

func helpTable(text string) []helpRow {
	var rows []helpRow
	var about string
	finish := func() {
		if len(rows) == 0 {
			return
		}
		last := &rows[len(rows)-1]
		if m := helpVariables.FindStringSubmatch(about); m != nil {
			last.variables = strings.Split(strings.ReplaceAll(m[1], "$", ""), ", ")
		}
		if m := helpDefault.FindAllStringSubmatch(about, -1); m != nil {
			last.value, last.hasDefault = strings.Trim(m[len(m)-1][1], `"`), true
		}
	}
	for line := range strings.Lines(text) {
		m := helpFlag.FindStringSubmatch(strings.TrimRight(line, "\n"))
		if m == nil {
			about += line
			continue
		}
		finish()
		var row helpRow
		for i, name := range helpNames.FindAllStringSubmatch(m[1], -1) {
			if i == 0 {
				row.name = name[1]
			} else {
				row.aliases = append(row.aliases, name[1])
			}
		}
		rows, about = append(rows, row), m[2]+"\n"
	}
	finish()
	return rows
}

// TestFlagTableHasTheHelpOfStock reads the help texts of the stock program, so that a new release shows what the table lacks.
func TestFlagTableHasTheHelpOfStock(t *testing.T) {
	path := os.Getenv(harness.PeerVariable)
	if path == "" {
		t.Skipf("%s is not set to the path of a cloudflared binary", harness.PeerVariable)
	}
	table := make(map[string]flagRow)
	for _, r := range flagTable(t) {
		table[r.name] = r
	}
	defaults := flagDefaults(t)
	seen := make(map[string]bool)
	for _, args := range [][]string{{"tunnel", "--help"}, {"tunnel", "run", "--help"}} {
		p := subject{path: path, stock: true}.run(t, nil, args...)
		p.ExitCode(t)
		for _, row := range helpTable(p.Out.String()) {
			if row.name == "help" || row.name == "version" {
				continue
			}
			seen[row.name] = true
			want, ok := table[row.name]
			if !ok {
				t.Errorf("%v: %s is not in the table", args, row.name)
				continue
			}
			slices.Sort(row.aliases)
			if have := slices.Sorted(slices.Values(want.aliases)); !slices.Equal(have, row.aliases) {
				t.Errorf("%s: aliases %v, in the table %v", row.name, row.aliases, have)
			}
			if !slices.Equal(want.variables, row.variables) {
				t.Errorf("%s: variables %v, in the table %v", row.name, row.variables, want.variables)
			}
			if have := strings.TrimPrefix(defaults[row.name], "-"); row.hasDefault && !sameDefault(row.value, have) {
				t.Errorf("%s: default %q, in the table %q", row.name, row.value, have)
			}
		}
	}
	if len(seen) < 60 {
		t.Errorf("only %d flags were found in the help", len(seen))
	}
	t.Logf("%d flags in the help, %d in the table; the rest is hidden", len(seen), len(table))
}

// flagDefaults is the column of defaults of testdata/flags.txt.
func flagDefaults(t *testing.T) map[string]string {
	t.Helper()
	b, err := os.ReadFile("testdata/flags.txt")
	if err != nil {
		t.Fatal(err)
	}
	out := make(map[string]string)
	for line := range strings.Lines(string(b)) {
		if c := strings.Split(strings.TrimSpace(line), "\t"); len(c) == 7 {
			out[c[0]] = c[4]
		}
	}
	return out
}

// sameDefault compares a default of the help with one of the table, which has no empty and no false values.
func sameDefault(help, table string) bool {
	return help == table || table == "" && (help == "false" || help == "0" || help == "0s") || table == "false" && help == ""
}
