package command_test

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// The table in keys.go has every key that an operation uses, and no other.
func TestKeyTable(t *testing.T) {
	source, err := os.ReadFile("keys.go")
	if err != nil {
		t.Fatal(err)
	}
	var listed []string
	for _, row := range regexp.MustCompile(`(?m)^//\t(cv:\S+)`).FindAllStringSubmatch(string(source), -1) {
		listed = append(listed, row[1])
	}
	names := strings.NewReplacer(tunnelText, "<tunnel>", connectorText, "<connector>",
		"cv:pool:default", "cv:pool:<name>", "cv:lead:supervisor", "cv:lead:<role>", "cv:hint:topic", "cv:hint:<topic>",
		"inbox:w", "inbox:<worker>", "once:k", "once:<key>")
	used := map[string]bool{}
	for _, op := range operations(t) {
		for _, key := range op.command.Keys {
			used[names.Replace(key)] = true
		}
		if op.command.Script != "" {
			continue
		}
		for _, word := range op.command.Args {
			if strings.HasPrefix(word, "cv:") {
				used[names.Replace(word)] = true
			}
		}
	}
	var want []string
	for key := range used {
		want = append(want, key)
	}
	slices.Sort(want)
	slices.Sort(listed)
	if diff := cmp.Diff(want, listed); diff != "" {
		t.Errorf("keys (-used +table):\n%s", diff)
	}
}
