//go:build dropin

package dropin_test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// flagRow is a row of testdata/flags.txt.
type flagRow struct {
	name               string
	aliases, variables []string
	kind, position     string
	inFile             bool
}

func flagTable(t *testing.T) []flagRow {
	t.Helper()
	b, err := os.ReadFile("testdata/flags.txt")
	if err != nil {
		t.Fatal(err)
	}
	list := func(s string) []string {
		if s == "-" {
			return nil
		}
		return strings.Split(s, ",")
	}
	var rows []flagRow
	for line := range strings.Lines(string(b)) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		c := strings.Split(strings.TrimSpace(line), "\t")
		if len(c) != 7 {
			t.Fatalf("%d columns: %q", len(c), line)
		}
		rows = append(rows, flagRow{c[0], list(c[1]), list(c[2]), c[3], c[5], c[6] == "yes"})
	}
	return rows
}

// token is valid, and of no tunnel.
const token = "eyJhIjoiYSIsInMiOiJjM056YzNOemMzTnpjM056YzNOemMzTnpjM056YzNOemMzTnpjM009IiwidCI6IjAwMDAwMDAwLTAwMDAtMDAwMC0wMDAwLTAw" +
	"MDAwMDAwMDAwMSJ9"

// value is one that the flag accepts. Ours does not start since there is no file with the edge's roots, but shows its settings; stock
// has a token that is not valid, as it would go on.
func (s subject) value(r flagRow, dir string) string {
	special := map[string]string{
		"config": filepath.Join(dir, "empty.yml"), "logfile": filepath.Join(dir, "log"), "log-directory": filepath.Join(dir, "logs"),
		"trace-output": filepath.Join(dir, "trace"), "loglevel": "info", "transport-loglevel": "warn", "output": "default", "protocol": "quic",
		"edge": "127.0.0.1:1", "edge-ip-version": "4", "edge-bind-address": "127.0.0.1", "icmpv4-src": "127.0.0.1", "icmpv6-src": "::1",
		"dns-resolver-addrs": "127.0.0.1:53", "tag": "a=b", "metrics": "127.0.0.1:0", "url": "http://localhost:1",
	}
	if !s.stock {
		special["token"] = token
	}
	if v, ok := special[r.name]; ok {
		return v
	}
	return map[string]string{"bool": "true", "int": "1", "uint": "1", "duration": "1s", "list": "a", "text": "x"}[r.kind]
}

// TestFlags: command lines, environments and configuration files that were written for the stock connector go on working, and a flag
// that does nothing says so.
func TestFlags(t *testing.T) {
	rows := flagTable(t)
	only := func(keep func(flagRow) bool) []flagRow {
		return slices.DeleteFunc(slices.Clone(rows), func(r flagRow) bool { return !keep(r) })
	}
	each(t, func(t *testing.T, s subject) {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "empty.yml"), []byte("{}\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		before := func(r flagRow) bool { return !s.stock || r.position != "run" }
		after := func(r flagRow) bool { return !s.stock || r.position != "tunnel" }
		// args gives every flag by its name, or those with aliases by their last one.
		args := func(rows []flagRow, byAlias bool) (out []string) {
			for _, r := range rows {
				form := "--" + r.name
				if n := len(r.aliases); byAlias && n > 0 {
					form = "--" + r.aliases[n-1]
				}
				out = append(out, form+"="+s.value(r, dir))
			}
			return out
		}
		for _, byAlias := range []bool{false, true} {
			t.Run(fmt.Sprintf("before run, aliases %v", byAlias), func(t *testing.T) {
				s.walk(t, only(before), nil, append(append([]string{"tunnel"}, args(only(before), byAlias)...), "run"))
			})
			t.Run(fmt.Sprintf("after run, aliases %v", byAlias), func(t *testing.T) {
				s.walk(t, only(after), nil, append([]string{"tunnel", "run"}, args(only(after), byAlias)...))
			})
		}
		t.Run("variables", func(t *testing.T) {
			var env []string
			for _, r := range rows {
				for _, name := range r.variables {
					env = append(env, name+"="+s.value(r, dir))
				}
			}
			s.walk(t, nil, env, []string{"tunnel", "run"})
		})
		t.Run("file", func(t *testing.T) {
			var text strings.Builder
			for _, r := range only(func(r flagRow) bool { return r.inFile }) {
				switch r.kind {
				case "list":
					fmt.Fprintf(&text, "%s: [%q]\n", r.name, s.value(r, dir))
				case "text", "duration":
					fmt.Fprintf(&text, "%s: %q\n", r.name, s.value(r, dir))
				default:
					fmt.Fprintf(&text, "%s: %s\n", r.name, s.value(r, dir))
				}
			}
			path := filepath.Join(dir, "config.yml")
			if err := os.WriteFile(path, []byte(text.String()), 0o600); err != nil {
				t.Fatal(err)
			}
			// credentials-file has a meaning of its own in the file: the tests of package connector have it.
			inFile := only(func(r flagRow) bool { return r.inFile && r.name != "credentials-file" })
			s.walk(t, inFile, nil, []string{"tunnel", "--config", path, "run"})
		})
		if s.stock {
			t.Run("position", func(t *testing.T) { s.positions(t, rows, dir) })
		}
	})
}

// walk runs a command line with a value for each of rows.
func (s subject) walk(t *testing.T, rows []flagRow, env, args []string) {
	t.Helper()
	p := s.run(t, env, args...)
	code := p.ExitCode(t)
	out := p.Out.String()
	for _, refusal := range []string{"Incorrect Usage", "unknown flag", "environment variable", "config.yml:"} {
		if strings.Contains(out, refusal) {
			t.Fatalf("refused (exit code %d):\n%s", code, out)
		}
	}
	if s.stock { // it ends before it shows its settings
		if code != 255 || !strings.Contains(out, "token is not valid") && !strings.Contains(out, "requires the ID or name") {
			t.Errorf("exit code %d:\n%s", code, out)
		}
		return
	}
	if code != 1 || !strings.Contains(out, "--cacert: stat x") {
		t.Errorf("exit code %d:\n%s", code, out)
	}
	variables := regexp.MustCompile(`(?m)^.*Environmental variables map\[.*$`).FindString(out)
	for _, v := range env {
		if name, _, _ := strings.Cut(v, "="); strings.Contains(name, "TUNNEL_") && !strings.Contains(variables, name+":") {
			t.Errorf("%s is not among the variables: %s", name, variables)
		}
	}
	settings := regexp.MustCompile(`(?m)^.*Settings: map\[.*$`).FindString(out)
	for _, r := range rows {
		if !strings.Contains(settings, r.name+":") {
			t.Errorf("%s is not among the settings: %s", r.name, settings)
		}
	}
}

// positions checks the table: what is only accepted in one place is refused in the other.
func (s subject) positions(t *testing.T, rows []flagRow, dir string) {
	t.Helper()
	for _, r := range rows {
		args := []string{"tunnel", "run", "--" + r.name + "=" + s.value(r, dir)}
		switch r.position {
		case "both":
			continue
		case "run":
			args = []string{"tunnel", "--" + r.name + "=" + s.value(r, dir), "run"}
		}
		p := s.run(t, nil, args...)
		if code := p.ExitCode(t); code != 0 || !strings.Contains(p.Out.String(), "flag provided but not defined: -"+r.name) {
			t.Errorf("%v: exit code %d\n%s", args, code, p.Out)
		}
	}
}

// TestFlagsWithoutEffect: a flag that does nothing says so in one line, with the reason.
func TestFlagsWithoutEffect(t *testing.T) {
	each(t, func(t *testing.T, s subject) {
		if s.stock {
			t.Skip("it is silent")
		}
		p := s.run(t, []string{"TUNNEL_TOKEN=" + token, "TUNNEL_CACERT=x"}, "tunnel", "--max-edge-addr-retries", "3", "--api-url", "http://x", "--overwrite-dns", "run", "--ssh-server")
		p.ExitCode(t)
		for _, name := range []string{"max-edge-addr-retries", "api-url", "overwrite-dns", "ssh-server"} {
			found := false
			for line := range strings.Lines(p.Out.String()) {
				found = found || strings.Contains(line, "flag without effect flag="+name+" reason=")
			}
			if !found {
				t.Errorf("no line for %s in\n%s", name, p.Out)
			}
		}
	})
}
