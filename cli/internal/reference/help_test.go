package reference_test

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var (
	commandRow = regexp.MustCompile(`(?m)^   ([a-z][a-z0-9-]*)(?:, [a-z-]+)? {2,}(.+)$`)
	// settingRow is a line of a service's help: flag, meaning, variable and default.
	settingRow = regexp.MustCompile(`^  (--\S+|\(no flag\)) +(.+) \((CULVERT_[A-Z0-9_]+); default (.*)\)$`)
	fileRow    = regexp.MustCompile(`^  \(file: (\S+)\) +(.+)$`)
	versionRow = regexp.MustCompile(`(?m)^VERSION:\n.*\n\n`)
)

func services() []string { return []string{"discovery", "supervisor", "conn-worker", "proxy", "edge"} }

// commands is the page of every command, in the order of the help text, each below the command that contains it.
func commands(t *testing.T) string {
	t.Helper()
	var b strings.Builder
	b.WriteString("# Commands\n\nEvery command of `culvert` with its flags. The services, `culvert edge` and so on, are also programs of " +
		"their own;\n" +
		"[settings.md](settings.md) has their flags.\n")
	var walk func(path []string)
	walk = func(path []string) {
		text := help(t, path...)
		name := strings.TrimSpace("culvert " + strings.Join(path, " "))
		fmt.Fprintf(&b, "\n## %s\n\n```\n%s\n```\n", name, strings.TrimSpace(versionRow.ReplaceAllString(text, "")))
		_, list, ok := strings.Cut(text, "COMMANDS:\n")
		if !ok {
			return
		}
		list, _, _ = strings.Cut(list, "\n\n")
		for _, m := range commandRow.FindAllStringSubmatch(list, -1) {
			if m[1] != "help" && !slices.Contains(services(), m[1]) {
				walk(append(slices.Clone(path), m[1]))
			}
		}
	}
	walk(nil)
	return b.String()
}

// settings is the page of every setting of every service.
func settings(t *testing.T) string {
	t.Helper()
	var b strings.Builder
	b.WriteString("# Settings of the services\n\n" +
		"A setting comes from the first of these that has it: flag, environment variable, YAML file (`--config FILE` or `CULVERT_CONFIG`),\n" +
		"default. In the file `section.key` is `key` below `section`. Secrets have no flag, since every user of the machine can read the\n" +
		"arguments of a process. `<service> config` prints what is in effect.\n")
	for _, service := range services() {
		fmt.Fprintf(&b, "\n## %s\n\n| Flag | Variable | Default | Meaning |\n|---|---|---|---|\n", service)
		rows := 0
		for _, line := range strings.Split(help(t, service), "\n") {
			switch m := settingRow.FindStringSubmatch(line); {
			case m != nil:
				name := m[1]
				if strings.HasPrefix(name, "--") {
					name = "`" + name + "`"
				}
				fmt.Fprintf(&b, "| %s | `%s` | %s | %s |\n", name, m[3], value(m[4]), cell(m[2]))
				rows++
			case fileRow.MatchString(line):
				m := fileRow.FindStringSubmatch(line)
				fmt.Fprintf(&b, "| file only: `%s` | | | %s |\n", m[1], cell(m[2]))
				rows++
			}
		}
		if rows < 5 {
			t.Errorf("%s --help lists %d settings: its form is not what this test reads", service, rows)
		}
	}
	return b.String()
}

func value(text string) string {
	if text == "none" {
		return text
	}
	return "`" + text + "`"
}

// cell makes text fit into a column of a table.
func cell(text string) string {
	return strings.NewReplacer("|", `\|`, "<", "&lt;").Replace(strings.TrimSpace(text))
}
