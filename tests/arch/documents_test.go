package arch_test

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestDecisionsAreIndexed compares docs/adr/README.md with the records: each has a row with its title and a number of
// its own.
func TestDecisionsAreIndexed(t *testing.T) {
	const dir = "docs/adr"
	index, _ := readText(t, dir+"/README.md")
	files, err := filepath.Glob(filepath.Join(root(t), dir, "[0-9]*.md"))
	if err != nil || len(files) == 0 {
		t.Fatalf("records: %v, %v", files, err)
	}
	numbers := map[string]string{}
	for _, path := range files {
		name := filepath.Base(path)
		text, _ := readText(t, dir+"/"+name)
		number := name[:4]
		if other, taken := numbers[number]; taken {
			t.Errorf("%s and %s have the same number", other, name)
		}
		numbers[number] = name
		first, _, _ := strings.Cut(text, "\n")
		title, ok := strings.CutPrefix(first, "# "+number+": ")
		if !ok {
			t.Errorf("%s begins with %q, want \"# %s: TITLE\"", name, first, number)
			continue
		}
		if row := "| [" + number + "](" + name + ") | " + title + " |"; !strings.Contains(index, row) {
			t.Errorf("%s/README.md has no row that begins with %q", dir, row)
		}
		for _, part := range []string{"\nStatus: ", "\n## Context\n", "\n## Decision\n", "\n## Consequences\n"} {
			if !strings.Contains(text, part) {
				t.Errorf("%s has no %q", name, strings.TrimSpace(part))
			}
		}
	}
}

// TestDocumentsAreIndexed wants every document within reach of docs/README.md.
func TestDocumentsAreIndexed(t *testing.T) {
	index, _ := readText(t, "docs/README.md")
	for _, name := range trackedFiles(t) {
		if !strings.HasPrefix(name, "docs/") || strings.Count(name, "/") > 1 || !strings.HasSuffix(name, ".md") || name == "docs/README.md" {
			continue
		}
		if !strings.Contains(index, "("+strings.TrimPrefix(name, "docs/")+")") {
			t.Errorf("docs/README.md does not link to %s", name)
		}
	}
}

// TestRoot wants nothing in the first folder that is not listed here: what a program wrote there by chance does not belong into the tree.
func TestRoot(t *testing.T) {
	want := []string{
		".ci", ".dockerignore", ".gitignore", ".golangci.yml", "ARCHITECTURE.md", "CHANGELOG.md", "CONTRIBUTING.md", "LICENSE", "Makefile",
		"README.md", "SECURITY.md", "cli", "deploy", "docker-compose.yml", "docs", "go.work", "go.work.sum", "pkg", "services", "tests", "tools",
	}
	for _, name := range trackedFiles(t) {
		if first, _, _ := strings.Cut(name, "/"); !slices.Contains(want, first) {
			t.Errorf("%s is not expected in the first folder", name)
		}
	}
}

// TestTargetsAreDescribed wants a line of `make help` for every target that a person types.
func TestTargetsAreDescribed(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(root(t), "Makefile"))
	if err != nil {
		t.Fatal(err)
	}
	phony := regexp.MustCompile(`(?m)^\.PHONY: (.+)$`).FindSubmatch(text)
	if phony == nil {
		t.Fatal("the Makefile has no .PHONY line")
	}
	for _, target := range strings.Fields(string(phony[1])) {
		if described := regexp.MustCompile(`(?m)^` + regexp.QuoteMeta(target) + `:.* ## `); target != "toolchain" && !described.Match(text) {
			t.Errorf("target %s has no `## description`", target)
		}
	}
}

// TestNewcomersFindWhatIsNamed wants the files, the tests and the targets of make that the pages for newcomers name.
func TestNewcomersFindWhatIsNamed(t *testing.T) {
	path := regexp.MustCompile("`((?:pkg|services|cli|tests|docs|deploy)/[A-Za-z0-9_./-]+)`")
	target := regexp.MustCompile("(?m)(?:^|`|&& )make ([a-z0-9-]+)")
	test := regexp.MustCompile("`(Test[A-Za-z0-9]+)`")
	makefile, _ := readText(t, "Makefile")
	var tests strings.Builder
	for _, name := range trackedFiles(t) {
		if strings.HasSuffix(name, "_test.go") {
			text, _ := readText(t, name)
			tests.WriteString(text)
		}
	}
	for _, doc := range []string{"README.md", "CONTRIBUTING.md", "ARCHITECTURE.md", "docs/first-change.md"} {
		text, _ := readText(t, doc)
		for line := range strings.Lines(text) {
			for _, m := range path.FindAllStringSubmatch(line, -1) {
				_, err := os.Stat(filepath.Join(root(t), m[1]))
				if isNew := strings.Contains(line, "a new file"); (err == nil) == isNew {
					t.Errorf("%s names %s (as a new file: %v): %v", doc, m[1], isNew, err)
				}
			}
		}
		for _, m := range target.FindAllStringSubmatch(text, -1) {
			if !strings.Contains(makefile, "\n"+m[1]+":") {
				t.Errorf("%s names make %s, which is no target", doc, m[1])
			}
		}
		for _, m := range test.FindAllStringSubmatch(text, -1) {
			if !strings.Contains(tests.String(), "func "+m[1]+"(") {
				t.Errorf("%s names %s, which is no test", doc, m[1])
			}
		}
	}
}
