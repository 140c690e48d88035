package stocklog_test

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/culvert-tunnel/culvert/pkg/stocklog"
)

var update = flag.Bool("update", false, "write the table into docs/spec/logs.md")

const (
	specFile   = "../../docs/spec/logs.md"
	tableBegin = "<!-- table -->\n"
	tableEnd   = "<!-- end -->\n"
)

// TestSpecHasTheTable compares the table of the document with the one in the code.
func TestSpecHasTheTable(t *testing.T) {
	raw, err := os.ReadFile(specFile)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(raw), tableBegin)
	_, after, ok2 := strings.Cut(rest, tableEnd)
	if !ok || !ok2 {
		t.Fatalf("%s has no marks of the table", specFile)
	}
	want := before + tableBegin + document() + tableEnd + after
	if *update {
		if err := os.WriteFile(specFile, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if want != string(raw) {
		t.Errorf("%s differs from the table in the code: run go test ./pkg/stocklog -update", specFile)
	}
}

// TestRowsMakeSense: a message has one row, which either has lines, or keeps our words, or says why nothing is written.
func TestRowsMakeSense(t *testing.T) {
	seen := map[string]bool{}
	for _, r := range stocklog.Rows() {
		if seen[r.Ours] {
			t.Errorf("two rows for %q", r.Ours)
		}
		seen[r.Ours] = true
		if r.Own && len(r.Lines) > 0 || !r.Own && len(r.Lines) == 0 && r.Note == "" {
			t.Errorf("row of %q is neither own, nor has it lines, nor a reason for having none", r.Ours)
		}
	}
}

func document() string {
	var b strings.Builder
	for _, part := range stocklog.Parts() {
		fmt.Fprintf(&b, "\n### %s\n\n| ours | level | line | keys | when |\n|---|---|---|---|---|\n", part.Name)
		for i := range part.Rows {
			row(&b, &part.Rows[i])
		}
	}
	return b.String() + "\n"
}

func row(b *strings.Builder, r *stocklog.Row) {
	name := cell(r.Ours)
	if r.Transport {
		name += " **T**"
	}
	switch {
	case r.Own:
		fmt.Fprintf(b, "| %s | %s | own | %s | |\n", name, level(r.Level), event(r.Event))
	case len(r.Lines) == 0:
		fmt.Fprintf(b, "| %s | | none: %s | | |\n", name, r.Note)
	}
	for _, l := range r.Lines {
		text := "(no message)"
		if l.Message != "" {
			text = "`" + cell(l.Message) + "`"
		}
		fmt.Fprintf(b, "| %s | %s | %s | %s | %s |\n", name, level(l.Level), text, keys(&l), conds(l.When))
		name = ""
	}
	if r.Note != "" && len(r.Lines) > 0 {
		fmt.Fprintf(b, "| | | %s | | |\n", r.Note)
	}
}

func cell(s string) string {
	return strings.NewReplacer("|", `\|`, "\n", " ⏎ ", "`", "'").Replace(s)
}

func level(r stocklog.Rule) string {
	return [...]string{"as ours", "debug", "info", "warn", "error", "by connections", "error or debug"}[r]
}

func event(e stocklog.Event) string {
	if e == stocklog.EventNone {
		return ""
	}
	return fmt.Sprintf("event=%d", e)
}

func keys(t *stocklog.Template) string {
	var out []string
	if e := event(t.Event); e != "" {
		out = append(out, e)
	}
	for _, f := range t.Fields {
		switch {
		case f.Value != nil:
			out = append(out, fmt.Sprintf("%s=`%v`", f.Key, f.Value))
		case f.Attr == "":
			out = append(out, fmt.Sprintf("%s=`%s`", f.Key, f.Before))
		case f.Before != "":
			out = append(out, fmt.Sprintf("%s=`%s{%s}`", f.Key, f.Before, f.Attr))
		case f.Key == f.Attr:
			out = append(out, f.Key)
		default:
			out = append(out, fmt.Sprintf("%s={%s}", f.Key, f.Attr))
		}
	}
	return strings.Join(out, ", ")
}

func conds(cs []stocklog.Cond) string {
	out := make([]string, len(cs))
	for i, c := range cs {
		op := "is"
		if c.Not {
			op = "is not"
		}
		values := make([]string, len(c.Is))
		for j, v := range c.Is {
			if values[j] = v; v == "" {
				values[j] = "missing"
			}
		}
		out[i] = fmt.Sprintf("%s %s %s", c.Attr, op, strings.Join(values, " or "))
	}
	return strings.Join(out, ", ")
}
