package command_test

import (
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/culvert-tunnel/culvert/pkg/config/cfdfile"
	"github.com/culvert-tunnel/culvert/pkg/ingress"
)

var updateExamples = flag.Bool("update", false, "write the output of the commands into the pages of docs/examples")

const examplesDir = "docs/examples"

// console is a block of a page with one command and its output.
var consoleBlock = regexp.MustCompile("(?s)```console\n\\$ ([^\n]*)\n(.*?)```\n")

// TestExamples runs each command that a page of docs/examples shows, and compares its output with the page.
func TestExamples(t *testing.T) {
	t.Chdir("../../..")
	pages, err := filepath.Glob(filepath.Join(examplesDir, "*.md"))
	if err != nil || len(pages) < 6 {
		t.Fatalf("pages %v, %v", pages, err)
	}
	commands := 0
	for _, page := range pages {
		b, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		text := consoleBlock.ReplaceAllStringFunc(string(b), func(block string) string {
			commands++
			parts := consoleBlock.FindStringSubmatch(block)
			got := shellOutput(t, parts[1])
			if !*updateExamples && got != parts[2] {
				t.Errorf("%s: %s\nprints\n%s\nthe page has\n%s", page, parts[1], got, parts[2])
			}
			return "```console\n$ " + parts[1] + "\n" + got + "```\n"
		})
		if *updateExamples {
			if err := os.WriteFile(page, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	if commands < 20 {
		t.Errorf("only %d commands in the pages", commands)
	}
}

// shellOutput runs a line of the form: culvert ARGUMENT... [| tail -N].
func shellOutput(t *testing.T, line string) string {
	t.Helper()
	line, tail, cut := strings.Cut(line, " | tail -")
	args := words(line)
	if args[0] != "culvert" {
		t.Fatalf("%s: not a command of ours", line)
	}
	_, stdout, stderr := run(t, nil, args[1:]...)
	out := stdout + stderr
	if !cut {
		return out
	}
	n, err := strconv.Atoi(tail)
	if err != nil {
		t.Fatalf("%s: %v", line, err)
	}
	lines := strings.SplitAfter(strings.TrimSuffix(out, "\n"), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "") + "\n"
}

// words splits a line at blanks that are not within double quotes.
func words(line string) (out []string) {
	quoted := false
	for _, w := range strings.FieldsFunc(line, func(r rune) bool {
		if r == '"' {
			quoted = !quoted
		}
		return r == ' ' && !quoted
	}) {
		out = append(out, strings.ReplaceAll(w, `"`, ""))
	}
	return out
}

// TestExampleFiles: every example compiles without a key that nothing reads, and has what its page promises.
func TestExampleFiles(t *testing.T) {
	dir := filepath.Join("../../..", examplesDir)
	files, err := filepath.Glob(filepath.Join(dir, "*.yml"))
	if err != nil {
		t.Fatal(err)
	}
	atLeast := map[string]int{"home-lab.yml": 12, "company.yml": 300, "remote-access.yml": 6, "complaints.yml": 10, "shadowed.yml": 2}
	for _, path := range files {
		file, err := cfdfile.Read(path)
		if err != nil {
			t.Fatal(err)
		}
		set, err := ingress.Compile(file.Document)
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		hosts := map[string]bool{}
		for i := range set.Rules {
			if set.Rules[i].Closed != "" {
				t.Errorf("%s: rule %d refuses every request: %s", path, i, set.Rules[i].Closed)
			}
			hosts[set.Rules[i].Hostname] = true
		}
		if len(file.UnusedKeys) > 0 {
			t.Errorf("%s: keys that nothing reads: %v", path, file.UnusedKeys)
		}
		if want, named := atLeast[filepath.Base(path)]; !named || len(hosts)-1 < want {
			t.Errorf("%s: %d hostnames, want at least %d, and the name in this test", path, len(hosts)-1, want)
		}
		delete(atLeast, filepath.Base(path))
	}
	if len(atLeast) > 0 {
		t.Errorf("no file %v", atLeast)
	}
}
