package reference_test

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/culvert-tunnel/culvert/cli/internal/command"
	"github.com/culvert-tunnel/culvert/pkg/process"
)

var update = flag.Bool("update", false, "rewrite docs/reference")

const (
	root      = "../../.."
	generated = "<!-- Generated from the code by `make generate`. Do not edit. -->\n\n"
)

// TestReferenceIsCurrent compares each file of docs/reference with the code, or writes it with -update.
func TestReferenceIsCurrent(t *testing.T) {
	source := parseTree(t)
	for name, text := range map[string]string{
		"commands.md":        commands(t),
		"settings.md":        settings(t),
		"metrics.md":         metricsPage(source.metrics(t)) + stockPage(),
		"errors.md":          problemsPage(source.problems(t)),
		"config-schema.json": schema(t),
		"api.md":             apiPage(),
		"openapi.json":       openAPI(t),
	} {
		path := filepath.Join(root, "docs", "reference", name)
		want := text
		if filepath.Ext(name) == ".md" {
			want = generated + text
		}
		if *update {
			if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
				t.Fatal(err)
			}
			continue
		}
		got, err := os.ReadFile(path)
		if err != nil {
			t.Errorf("%v: run `make generate`", err)
			continue
		}
		if string(got) != want {
			t.Errorf("docs/reference/%s is stale at line %d: run `make generate`", name, firstDifference(string(got), want))
		}
	}
}

// TestDocumentedMetricsExist looks up every metric that a page or a message names.
func TestDocumentedMetricsExist(t *testing.T) {
	known := map[string]bool{}
	for _, m := range parseTree(t).metrics(t) {
		known[m.name] = true
	}
	pages, err := filepath.Glob(filepath.Join(root, "docs", "*.md"))
	if err != nil || len(pages) == 0 {
		t.Fatalf("pages: %v, %v", pages, err)
	}
	for _, page := range append(pages, filepath.Join(root, "README.md"), filepath.Join(root, "ARCHITECTURE.md")) {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range metricName.FindAllString(string(text), -1) {
			if !known[name] && !known[strings.TrimSuffix(name, "_")] && !isPrefix(known, name) {
				t.Errorf("%s names the metric %s, which does not exist", filepath.Base(page), name)
			}
		}
	}
}

func isPrefix(known map[string]bool, name string) bool {
	for k := range known {
		if strings.HasSuffix(name, "_") && strings.HasPrefix(k, name) {
			return true
		}
	}
	return false
}

func firstDifference(got, want string) int {
	a, b := strings.Split(got, "\n"), strings.Split(want, "\n")
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return i + 1
		}
	}
	return min(len(a), len(b)) + 1
}

// help runs `culvert ARGS --help` with an empty environment and returns what it prints.
func help(t *testing.T, args ...string) string {
	t.Helper()
	var out, stderr bytes.Buffer
	host := process.Host{Args: append(args, "--help"), Stdout: &out, Stderr: &stderr}
	if code := command.Run(t.Context(), host); code != process.ExitOK {
		t.Fatalf("culvert %s --help = %d: %s", strings.Join(args, " "), code, stderr.String())
	}
	return out.String()
}
