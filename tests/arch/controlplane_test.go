package arch_test

import (
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "rewrite the generated tables of docs/control-plane.md")

// TestControlPlaneTables makes the tables of docs/control-plane.md from the code: between "<!-- NAME -->" and "<!-- end of NAME -->".
func TestControlPlaneTables(t *testing.T) {
	path := filepath.Join(root(t), "docs/control-plane.md")
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	text := string(b)
	for name, table := range map[string]string{
		"keys": keyTable(t), "holder": holderTable(t), "transports": transportTable(t),
		"pass": stageTable(t, "pkg/control/pass/machine.go"), "keep": stageTable(t, "pkg/control/keep/machine.go"),
		"register": stageTable(t, "pkg/control/register/machine.go"), "retain": stageTable(t, "pkg/control/retain/machine.go"),
	} {
		begin, end := "<!-- "+name+" -->\n", "<!-- end of "+name+" -->\n"
		before, rest, ok := strings.Cut(text, begin)
		_, after, closed := strings.Cut(rest, end)
		if !ok || !closed {
			t.Fatalf("docs/control-plane.md has no place for the table %q", name)
		}
		text = before + begin + table + end + after
	}
	if *update {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	if text != string(b) {
		t.Error("docs/control-plane.md differs from the code: go test ./tests/arch -run TestControlPlaneTables -update")
	}
}

func codeOf(t *testing.T, name string) string {
	t.Helper()
	text, ok := readText(t, name)
	if !ok {
		t.Fatalf("%s cannot be read", name)
	}
	return text
}

func markdown(head []string, rows [][]string) string {
	var b strings.Builder
	line := func(cells []string) { fmt.Fprintf(&b, "| %s |\n", strings.Join(cells, " | ")) }
	line(head)
	line(slices.Repeat([]string{"---"}, len(head)))
	for _, r := range rows {
		line(r)
	}
	return b.String()
}

// keyTable is the comment of keys.go as a table: two blanks or a tab separate its columns, and what is indented explains the key above it.
func keyTable(t *testing.T) string {
	t.Helper()
	columns := regexp.MustCompile(`(?: {2,}|\t)+`)
	var rows [][]string
	for line := range strings.SplitSeq(codeOf(t, "pkg/redisstore/command/keys.go"), "\n") {
		text, ok := strings.CutPrefix(line, "//\t")
		if !ok {
			continue
		}
		if note, ok := strings.CutPrefix(text, "    "); ok && len(rows) > 0 {
			last := rows[len(rows)-1]
			last[5] = strings.TrimSpace(last[5] + " " + strings.TrimSpace(note))
			continue
		}
		cells := columns.Split(strings.TrimSpace(text), -1)
		if cells[0] == "key" {
			continue
		}
		if len(cells) == 4 && strings.Contains(cells[1], " ") { // a long key leaves one blank before its type
			cells = append([]string{cells[0]}, append(strings.SplitN(cells[1], " ", 2), cells[2:]...)...)
		}
		if len(cells) != 5 {
			t.Fatalf("keys.go: %q has %d columns, want key, type, TTL, written by, read by", line, len(cells))
		}
		cells[0] = "`" + cells[0] + "`"
		rows = append(rows, append(cells, ""))
	}
	if len(rows) < 5 {
		t.Fatalf("keys.go: %d keys in the table", len(rows))
	}
	for _, r := range rows {
		r[5] = strings.ReplaceAll(r[5], "|", `\|`)
	}
	return markdown([]string{"Key", "Type", "TTL", "Written by", "Read by", "Content"}, rows)
}

// holderTable is the table of the lease machine, as its test has recorded it: the phase that follows on each event.
func holderTable(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(root(t), "pkg/lease/testdata/product.golden"))
	if err != nil {
		t.Fatal(err)
	}
	var phases, events []string
	next := map[[2]string]string{}
	for line := range strings.SplitSeq(strings.TrimSpace(string(b)), "\n") {
		event, ok := strings.CutPrefix(line, "  ")
		if !ok {
			phases = append(phases, line)
			continue
		}
		event, rest, _ := strings.Cut(event, " ")
		if !slices.Contains(events, event) {
			events = append(events, event)
		}
		phase := phases[len(phases)-1]
		to, arrow := strings.CutPrefix(strings.TrimSpace(rest), "-> ")
		to, _, _ = strings.Cut(to, " ")
		switch {
		case !arrow:
		case to == phase:
			next[[2]string{event, phase}] = "="
		default:
			next[[2]string{event, phase}] = to
		}
	}
	var rows [][]string
	for _, e := range events {
		row := []string{"**" + e + "**"}
		for _, p := range phases {
			row = append(row, next[[2]string{e, p}])
		}
		rows = append(rows, row)
	}
	return markdown(append([]string{"Event"}, phases...), rows)
}

// transportTable is the table of pkg/protocol.
func transportTable(t *testing.T) string {
	t.Helper()
	cell := regexp.MustCompile(`(?m)^\s*\{(\w+), (\w+)\}:\s+(\w+),$`)
	var states, events []string
	steps := map[[2]string]string{}
	for _, m := range cell.FindAllStringSubmatch(codeOf(t, "pkg/protocol/machine.go"), -1) {
		if !slices.Contains(states, m[1]) {
			states = append(states, m[1])
		}
		if !slices.Contains(events, m[2]) {
			events = append(events, m[2])
		}
		steps[[2]string{m[2], m[1]}] = m[3]
	}
	if len(states) == 0 {
		t.Fatal("pkg/protocol/machine.go: no transitions")
	}
	var rows [][]string
	for _, e := range events {
		row := []string{"**" + e + "**"}
		for _, s := range states {
			row = append(row, steps[[2]string{e, s}])
		}
		rows = append(rows, row)
	}
	return markdown(append([]string{"Event"}, states...), rows)
}

// stageTable lists the stages of a machine with their comments, which say what it waits for.
func stageTable(t *testing.T, name string) string {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), filepath.Join(root(t), name), nil, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	var rows [][]string
	for _, d := range file.Decls {
		group, ok := d.(*ast.GenDecl)
		if !ok || group.Tok != token.CONST || len(group.Specs) == 0 {
			continue
		}
		first, ok := group.Specs[0].(*ast.ValueSpec)
		if id, is := first.Type.(*ast.Ident); !ok || !is || id.Name != "stage" {
			continue
		}
		for _, s := range group.Specs {
			v, ok := s.(*ast.ValueSpec)
			if ok {
				stage := strings.TrimPrefix(v.Names[0].Name, "stage")
				stage = strings.ToLower(stage[:1]) + stage[1:]
				rows = append(rows, []string{stage, strings.TrimSpace(v.Comment.Text())})
			}
		}
	}
	if len(rows) == 0 {
		t.Fatalf("%s has no stages", name)
	}
	return markdown([]string{"Stage", "Waits for, or is about"}, rows)
}
