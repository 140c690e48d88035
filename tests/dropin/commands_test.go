//go:build dropin

package dropin_test

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/culvert-tunnel/culvert/tests/harness"
)

// command runs a short command and returns its exit code and outputs.
func (s subject) command(t *testing.T, env []string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, s.path, args...)
	cmd.Env = append(append(os.Environ(), "HOME="+t.TempDir()), env...)
	var out, errs strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &errs
	_ = cmd.Run() // the exit code says it
	return cmd.ProcessState.ExitCode(), out.String(), errs.String()
}

// TestVersion: scripts and package managers read the version.
func TestVersion(t *testing.T) {
	each(t, func(t *testing.T, s subject) {
		line := regexp.MustCompile(`^` + s.name + ` version \S+`)
		for _, args := range [][]string{{"version"}, {"--version"}, {"-v"}, {"-V"}} {
			if code, out, _ := s.command(t, nil, args...); code != 0 || !line.MatchString(out) {
				t.Errorf("%v: exit code %d, %q", args, code, out)
			}
		}
		for _, flag := range []string{"--short", "-s"} {
			if code, out, _ := s.command(t, nil, "version", flag); code != 0 || !regexp.MustCompile(`^\S+\n$`).MatchString(out) {
				t.Errorf("%s: exit code %d, %q", flag, code, out)
			}
		}
		for _, args := range [][]string{{"--help"}, {"help"}, {"tunnel", "--help"}, {"tunnel", "run", "-h"}, {"access", "--help"}} {
			if code, out, _ := s.command(t, nil, args...); code != 0 || !strings.Contains(out, "USAGE") {
				t.Errorf("%v: exit code %d, %q", args, code, out)
			}
		}
	})
}

// TestNothingToRun: a service manager must not take a command line that runs nothing for a success.
func TestNothingToRun(t *testing.T) {
	each(t, func(t *testing.T, s subject) {
		usage := either(t, s, 1, 0, "a mistyped flag is a failure")
		for line, want := range map[string]int{
			"tunnel": 1, "tunnel fly": 1, "fly": 1, "run": 1, "--nonsense": usage, "tunnel --nonsense": usage, "tunnel run --nonsense": usage,
			"tunnel run --grace-period x": usage, "tunnel run": either(t, s, 1, 255, "one code for all errors"),
		} {
			code, out, errs := s.command(t, nil, strings.Fields(line)...)
			if code != want || out+errs == "" {
				t.Errorf("%s: exit code %d, want %d; %q", line, code, want, harness.Tail(out+errs, 300))
			}
		}
		if s.stock {
			return // without arguments it makes a file in /usr/local/etc and runs for ever
		}
		if code, out, errs := s.command(t, nil); code != 1 || out != "" || !strings.Contains(errs, "COMMANDS") {
			t.Errorf("bare: exit code %d, %q, %q", code, out, errs)
		}
	})
}

// TestAccountCommands: list and its like speak to our edge, and end at once with a reason where there is none.
func TestAccountCommands(t *testing.T) {
	e := harness.StartEdge(t)
	each(t, func(t *testing.T, s subject) {
		for _, line := range []string{"tunnel list", "tunnel info peer", "tunnel token peer", "tunnel cleanup peer", "tunnel delete -f x"} {
			code, out, errs := s.command(t, nil, strings.Fields(line)...)
			want := either(t, s, "Commands for an account with Cloudflare are those of cloudflared", "origin cert", "says what is possible here")
			if code != 1 || !strings.Contains(out+errs, want) {
				t.Errorf("%s: exit code %d, no %q in %q", line, code, want, out+errs)
			}
		}
		if s.stock {
			return // it has no edge of its own
		}
		s.connect(t, e)
		api := []string{"CULVERT_EDGE_ADMIN=unix:" + filepath.Join(e.Data, "admin.sock")}
		do := func(args ...string) string {
			t.Helper()
			code, out, errs := s.command(t, api, args...)
			if code != 0 {
				t.Fatalf("%v: exit code %d: %s", args, code, errs)
			}
			return out
		}
		var list []struct {
			ID, Name    string
			CreatedAt   time.Time         `json:"created_at"`
			Connections []json.RawMessage `json:"connections"`
		}
		if err := json.Unmarshal([]byte(do("tunnel", "list", "--name", "peer", "-o", "json")), &list); err != nil || len(list) != 1 ||
			len(list[0].Connections) != connections {
			t.Fatalf("list: %v, %+v", err, list)
		}
		if out := do("tunnel", "info", "--output", "yaml", list[0].ID); !strings.Contains(out, "\nconns:\n") {
			t.Errorf("info: %s", out)
		}
		file := filepath.Join(t.TempDir(), "credentials.json")
		if out := do("tunnel", "token", "--cred-file", file, "peer"); out != "" {
			t.Errorf("token: %s", out)
		}
		if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o400 {
			t.Errorf("credentials file: %v, %v", info, err)
		}
		do("tunnel", "create", "--cred-file", filepath.Join(t.TempDir(), "other.json"), "other")
		do("tunnel", "route", "dns", "peer", "a.example.com")
		do("tunnel", "route", "dns", "-f", "other", "a.example.com")
		if out := do("tunnel", "cleanup", "peer"); !strings.Contains(out, "Ended 4 connections") {
			t.Errorf("cleanup: %s", out)
		}
		do("tunnel", "delete", "-f", "other")
		do("login")
	})
}
