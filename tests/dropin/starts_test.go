//go:build dropin

package dropin_test

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/culvert-tunnel/culvert/pkg/credential"
	"github.com/culvert-tunnel/culvert/pkg/testkit"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
	"github.com/culvert-tunnel/culvert/tests/harness"
)

// TestOddConfigurationsStart: whatever stock starts with, ours starts with.
func TestOddConfigurationsStart(t *testing.T) {
	const (
		catchAll = "- service: http://localhost:1\n"
		rest     = "  service: http://localhost:1\n" + catchAll
		window   = "--quic-connection-level-flow-control-limit"
		noSecret = `{"AccountTag":"a","TunnelID":"00000000-0000-0000-0000-000000000001"}`
	)
	for name, c := range map[string]struct {
		rules, credentials string
		flags              []string
		warns              string // a word of the warning of ours, "" for none
	}{
		"unknown scheme":           {rules: "- service: gopher://localhost:70\n", warns: "gopher"},
		"hostname with a blank":    {rules: "- hostname: 'a.example.com '\n" + rest, warns: "a.example.com"},
		"unused keys":              {rules: catchAll + "  bogus: 1\n", warns: "bogus"},
		"flags beside rules":       {rules: catchAll, flags: []string{"--hello-world"}, warns: "hello-world"},
		"no secret":                {rules: catchAll, credentials: noSecret, warns: "TunnelSecret"},
		"no connections":           {rules: catchAll, flags: []string{"--ha-connections", "0"}, warns: "ha-connections"},
		"IPv6 and static IPv4":     {rules: catchAll, flags: []string{"--edge-ip-version", "6"}, warns: "edge-ip-version"},
		"edge without a port":      {rules: catchAll, flags: []string{"--edge", "no-port"}, warns: "no-port"},
		"negative retries":         {rules: catchAll, flags: []string{"--retries", "-1"}, warns: "retries"},
		"no time for calls":        {rules: catchAll, flags: []string{"--rpc-timeout", "0s"}, warns: "rpc-timeout"},
		"negative time for writes": {rules: catchAll, flags: []string{"--write-stream-timeout", "-1s"}, warns: "write-stream-timeout"},
		"negative grace period":    {rules: catchAll, flags: []string{"--grace-period", "-1s"}, warns: "grace-period"},
		"no window":                {rules: catchAll, flags: []string{window, "0"}, warns: "quic-connection"},
		"no roots in the file":     {rules: catchAll, flags: []string{"--cacert", "/etc/hostname"}, warns: "cacert"},
		"log file in no directory": {rules: catchAll, flags: []string{"--logfile", "/proc/none/log"}, warns: "/proc/none/log"},
		"unknown log level":        {rules: catchAll, flags: []string{"--loglevel", "loud"}, warns: "loud"},
	} {
		t.Run(name, func(t *testing.T) {
			each(t, func(t *testing.T, s subject) {
				dir := t.TempDir()
				creds := []byte(c.credentials)
				if len(creds) == 0 {
					creds = credential.File(tunnel.Credentials{
						AccountTag: "a", Secret: tunnel.Secret(strings.Repeat("s", 32)), TunnelID: tunnel.ID{15: 1},
					})
				}
				config := fmt.Appendf(nil, "tunnel: %s\ncredentials-file: %s/c.json\ningress:\n%s", tunnel.ID{15: 1}, dir, c.rules)
				for file, content := range map[string][]byte{"c.json": creds, "config.yml": config} {
					if err := os.WriteFile(filepath.Join(dir, file), content, 0o600); err != nil {
						t.Fatal(err)
					}
				}
				edge := testkit.ListenUDP(t).LocalAddr().(*net.UDPAddr)
				metrics := fmt.Sprintf("127.0.0.1:%d", harness.FreePort(t))
				args := append([]string{
					"tunnel", "--config", filepath.Join(dir, "config.yml"), "--metrics", metrics, "--edge", edge.String(),
					"--protocol", "quic", "--no-prechecks",
				}, c.flags...)
				p := &connector{Program: s.run(t, nil, append(args, "run")...), metrics: metrics}
				p.awaitReady(t, http.StatusServiceUnavailable, 0)
				if code := p.Stop(t, syscall.SIGTERM); code != 0 {
					t.Errorf("exit code %d, want 0", code)
				}
				if out := p.Out.String(); !s.stock && !strings.Contains(out, c.warns) {
					t.Errorf("no warning with %q:\n%s", c.warns, out)
				}
			})
		})
	}
}
