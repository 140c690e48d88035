package arch_test

import (
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"
)

// The forms in which code and documents cite documents.
var (
	// docPath is a document named from the root of the tree, with the sections that follow it:
	// "docs/spec/wire.md 5.3", "docs/spec/ingress.md 7.1, D18 and D19", "docs/design.md section 3", "docs/adr/0012".
	docPath = regexp.MustCompile(`\bdocs/[A-Za-z0-9_/-]+(?:\.md|\.json|\.yml)?((?:(?:,| and| to)? (?:sections? )?D?\d+(?:\.\d+)*\b)*)`)
	section = regexp.MustCompile(`D?\d+(?:\.\d+)*`)
	heading = regexp.MustCompile(`(?m)^#{2,4} (\d+(?:\.\d+)*)\.? `)
	anyHead = regexp.MustCompile(`(?m)^#{1,6} (.+)$`)
	// difference is a row of the table of deliberate differences, docs/spec/ingress.md section 14, cited with or without
	// its document.
	difference    = regexp.MustCompile(`\bD([1-9]\d?)\b`)
	differenceRow = regexp.MustCompile(`(?m)^\| D(\d+) \|`)
	link          = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	codeBlock     = regexp.MustCompile("(?s)```.*?```")
	wrapped       = regexp.MustCompile(`\n[ \t]*(?:// ?|# ?|-- ?)?`)
	adrShort      = regexp.MustCompile(`^docs/adr/\d{4}$`)
)

// TestEveryCitedDocumentExists follows each citation in code, configuration and documents to a file of this tree, and
// each section number and D-number to a heading or row of that file.
func TestEveryCitedDocumentExists(t *testing.T) {
	sections := map[string][]string{}
	for _, name := range trackedFiles(t) {
		text, ok := readText(t, name)
		if !ok {
			continue
		}
		for _, problem := range citations(t, text, sections) {
			t.Errorf("%s cites %s", name, problem)
		}
		if strings.HasSuffix(name, ".md") {
			for _, problem := range brokenLinks(t, name, text) {
				t.Errorf("%s links to %s", name, problem)
			}
		}
	}
}

// TestCitationsAreUnderstood holds the test above to the forms that are in use: it must object to each wrong one.
func TestCitationsAreUnderstood(t *testing.T) {
	for text, want := range map[string]string{
		"// see docs/spec/wire.md 5.3":                           "",
		"// (docs/spec/wire.md 5.3 and 5.4, docs/extensions.md)": "",
		"// docs/spec/wire.md 3 to 5":                            "",
		"// follows docs/spec/ingress.md\n\t// 7.1, D18":         "",
		"// docs/design.md section 3":                            "",
		"--config docs/examples/home-lab.yml run":                "",
		"// D9":                                          "",
		"// see docs/spec/wire.md 5.3 and 99":            "docs/spec/wire.md 99",
		"// docs/spec/wire.md 3 to 57":                   "docs/spec/wire.md 57",
		"// follows docs/spec/ingress.md\n\t// 7.1, D98": "docs/spec/ingress.md D98",
		"// docs/design.md section 33":                   "docs/design.md 33",
		"// docs/nothing.md":                             "docs/nothing.md",
		"// docs/nothing.json":                           "docs/nothing.json",
		"// docs/adr/9999":                               "docs/adr/9999",
		`row: "D97: bytes"`:                              "docs/spec/ingress.md D97",
	} {
		if got := strings.Join(citations(t, text, map[string][]string{}), "; "); got != want && !strings.HasPrefix(got, want+",") {
			t.Errorf("citations(%q) = %q, want %q", text, got, want)
		}
	}
}

// mayCite reports whether text can have a citation: the patterns of citations are slow on files without one.
func mayCite(text string) bool {
	if strings.Contains(text, "docs/") {
		return true
	}
	for i := 0; i+1 < len(text); i++ {
		if text[i] == 'D' && text[i+1] >= '0' && text[i+1] <= '9' {
			return true
		}
	}
	return false
}

// citations lists what text cites and the tree does not have. sections caches the sections of each document.
func citations(t *testing.T, text string, sections map[string][]string) []string {
	t.Helper()
	if !mayCite(text) {
		return nil
	}
	var problems []string
	text = wrapped.ReplaceAllString(text, " ")
	for _, m := range docPath.FindAllStringSubmatch(text, -1) {
		doc := strings.TrimSuffix(strings.TrimSpace(strings.TrimSuffix(m[0], m[1])), "/")
		file, ok := documentFile(t, doc)
		if !ok {
			problems = append(problems, doc+", which does not exist")
			continue
		}
		if !strings.HasSuffix(file, ".md") {
			continue
		}
		if _, known := sections[file]; !known {
			sections[file] = sectionsOf(t, file)
		}
		for _, number := range section.FindAllString(m[1], -1) {
			if !slices.Contains(sections[file], number) {
				problems = append(problems, fmt.Sprintf("%s %s, which does not exist", file, number))
			}
		}
	}
	const table = "docs/spec/ingress.md"
	if _, known := sections[table]; !known {
		sections[table] = sectionsOf(t, table)
	}
	for _, d := range difference.FindAllString(docPath.ReplaceAllString(text, ""), -1) {
		if !slices.Contains(sections[table], d) {
			problems = append(problems, fmt.Sprintf("%s %s, which does not exist", table, d))
		}
	}
	return problems
}

// documentFile finds the file of a citation: itself, or the one record that "docs/adr/0012" means.
func documentFile(t *testing.T, doc string) (string, bool) {
	t.Helper()
	if adrShort.MatchString(doc) {
		found, err := filepath.Glob(filepath.Join(root(t), doc+"-*.md"))
		if err != nil || len(found) != 1 {
			return "", false
		}
		return "docs/adr/" + filepath.Base(found[0]), true
	}
	_, err := os.Stat(filepath.Join(root(t), doc))
	return doc, err == nil
}

func sectionsOf(t *testing.T, doc string) []string {
	t.Helper()
	text, _ := readText(t, doc)
	var all []string
	for _, m := range heading.FindAllStringSubmatch(text, -1) {
		all = append(all, m[1])
	}
	for _, m := range differenceRow.FindAllStringSubmatch(text, -1) {
		all = append(all, "D"+m[1])
	}
	return all
}

// brokenLinks lists the relative links of a document that lead to no file, or to no heading of it.
func brokenLinks(t *testing.T, name, text string) []string {
	t.Helper()
	var problems []string
	for _, m := range link.FindAllStringSubmatch(codeBlock.ReplaceAllString(text, ""), -1) {
		target, anchor, _ := strings.Cut(m[1], "#")
		if strings.Contains(target, "://") || strings.HasPrefix(target, "mailto:") {
			continue
		}
		file := name
		if target != "" {
			file = path.Join(path.Dir(name), target)
		}
		if _, err := os.Stat(filepath.Join(root(t), file)); err != nil {
			problems = append(problems, m[1]+", which does not exist")
			continue
		}
		if anchor != "" && !slices.Contains(anchors(t, file), anchor) {
			problems = append(problems, m[1]+", which has no such heading")
		}
	}
	return problems
}

// anchors gives the names by which the headings of a document are linked: lower case, spaces as hyphens, no punctuation.
func anchors(t *testing.T, doc string) []string {
	t.Helper()
	text, _ := readText(t, doc)
	var all []string
	for _, m := range anyHead.FindAllStringSubmatch(codeBlock.ReplaceAllString(text, ""), -1) {
		all = append(all, strings.Map(func(r rune) rune {
			switch {
			case r == ' ':
				return '-'
			case r == '-' || r == '_' || unicode.IsLetter(r) || unicode.IsDigit(r):
				return unicode.ToLower(r)
			}
			return -1
		}, m[1]))
	}
	return all
}

// trackedFiles lists the files of the tree as git sees them, without ignored ones.
func trackedFiles(t *testing.T) []string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "git", "ls-files", "--cached", "--others", "--exclude-standard")
	cmd.Dir = root(t)
	out, err := cmd.Output()
	if err != nil {
		t.Skipf("git ls-files: %v: this test needs a clone", err)
	}
	return strings.Split(strings.TrimSpace(string(out)), "\n")
}

// readText reads a file that people write; generated files, recorded cases and binaries are none. This file is left
// out as well, since it has wrong citations on purpose.
func readText(t *testing.T, name string) (string, bool) {
	t.Helper()
	switch {
	case strings.Contains(name, "testdata/"), strings.HasSuffix(name, "go.sum"), strings.HasSuffix(name, ".capnp.go"),
		name == "tests/arch/references_test.go":
		return "", false
	}
	data, err := os.ReadFile(filepath.Join(root(t), name))
	if err != nil {
		return "", false // deleted and not yet committed
	}
	return string(data), true
}
