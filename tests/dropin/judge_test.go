//go:build dropin

package dropin_test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/culvert-tunnel/culvert/pkg/testkit"
	"github.com/culvert-tunnel/culvert/tests/harness"
)

const catchAll = "- service: http_status:404\n"

// oddFiles are configuration files with something to remark, and whether a connector starts with them.
func oddFiles() map[string]struct {
	text  string
	flags []string
	// warning is what ours says about it.
	warning string
	starts  bool
} {
	type file = struct {
		text    string
		flags   []string
		warning string
		starts  bool
	}
	return map[string]file{
		"unknown key in a rule":    {"ingress:\n- hostname: a.example.com\n  service: http://localhost:1\n  bogus: 1\n" + catchAll, nil, "bogus", true},
		"unknown key of origins":   {"ingress:\n" + catchAll + "originRequest:\n  connectTimeot: 3s\n", nil, "connectTimeot", true},
		"blank in a hostname":      {"ingress:\n- hostname: 'a.example.com '\n  service: http://localhost:1\n" + catchAll, nil, "blank at an end", true},
		"unknown scheme":           {"ingress:\n- service: weird://x:1\n", nil, "unknown scheme", true},
		"scheme in a hostname":     {"ingress:\n- hostname: https://a.example.com\n  service: http://localhost:1\n" + catchAll, nil, "", false},
		"rule behind a catch-all":  {"ingress:\n" + catchAll + catchAll, nil, "", false},
		"no catch-all":             {"ingress:\n- hostname: a.example.com\n  service: http://localhost:1\n", nil, "", false},
		"number for a duration":    {"ingress:\n" + catchAll + "originRequest:\n  connectTimeout: 30\n", nil, "", false},
		"flag of an origin, rules": {"ingress:\n" + catchAll, []string{"--unix-socket", "/x"}, "no effect", true},
		"no connections":           {"ingress:\n" + catchAll, []string{"--ha-connections", "0"}, "is not between 1 and", true},
		"IPv6 for IPv4 addresses":  {"ingress:\n" + catchAll, []string{"--edge-ip-version", "6"}, "no effect on the addresses", true},
	}
}

// TestOddConfigurations: what stock starts with, ours starts with, and says what is odd. tunnel config set judges a file alike.
func TestOddConfigurations(t *testing.T) {
	e := harness.StartEdge(t)
	each(t, func(t *testing.T, s subject) {
		for name, tc := range oddFiles() {
			t.Run(name, func(t *testing.T) {
				path := filepath.Join(t.TempDir(), "config.yml")
				if err := os.WriteFile(path, []byte(tc.text), 0o600); err != nil {
					t.Fatal(err)
				}
				testkit.Eventually(t, "the connector before is gone", func() bool { return e.Connections(t) == 0 })
				c := s.start(t, e, append([]string{"--config", path, "--grace-period", "1s", "--no-prechecks"}, tc.flags...)...)
				started := false
				testkit.Eventually(t, "the connector has connected or ended", func() bool {
					select {
					case <-c.Exited:
						return true
					default:
						started = e.Connections(t) > 0
						return started
					}
				})
				if started != tc.starts {
					t.Errorf("started: %v, want %v\n%s", started, tc.starts, c.Out)
				}
				if !s.stock {
					c.Line(t, tc.warning) // lines wait for the checksum of the program, connections do not
					s.judge(t, e, path, tc.flags == nil, tc.starts, tc.warning, c.Out.String())
				}
			})
		}
	})
}

// judge pushes the file that a connector has read, to a tunnel without connectors.
func (s subject) judge(t *testing.T, e *harness.Edge, path string, push, accepted bool, warning, log string) {
	t.Helper()
	if !strings.Contains(log, warning) {
		t.Errorf("no line with %q in\n%s", warning, log)
	}
	if !push {
		return
	}
	created, err := e.Admin.CreateTunnel(t.Context(), fmt.Sprintf("judge-%d", harness.FreePort(t)))
	if err != nil {
		t.Fatal(err)
	}
	code, _, errs := s.command(t, []string{"CULVERT_EDGE_ADMIN=unix:" + filepath.Join(e.Data, "admin.sock")}, "tunnel", "config", "set",
		created.Tunnel.ID.String(), path)
	if (code == 0) != accepted || !strings.Contains(errs, warning) {
		t.Errorf("config set: exit code %d, no %q in %s", code, warning, errs)
	}
	for _, m := range regexp.MustCompile(`(?m)ingress rule to look at warning="(.*)"$`).FindAllStringSubmatch(log, -1) {
		if text := strings.ReplaceAll(m[1], `\"`, `"`); !strings.Contains(errs, text) {
			t.Errorf("config set does not warn of %q: %s", text, errs)
		}
	}
}
