package connector_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/culvert-tunnel/culvert/cli/internal/connector"
	"github.com/culvert-tunnel/culvert/pkg/config/cfdfile"
)

// TestWarnings: what the reference starts with starts here, and says what has no effect.
func TestWarnings(t *testing.T) {
	rules := parse(t, "ingress: [{service: 'http_status:404'}]")
	for name, tc := range map[string]struct {
		file        *cfdfile.File
		flags       []string
		want        []connector.Warning
		connections int
		ipVersion   string
	}{
		"nothing given":  {connections: 4, ipVersion: "auto"},
		"no connections": {flags: []string{"ha-connections=0"}, connections: 1, ipVersion: "auto", want: []connector.Warning{{"ha-connections", "0 is not between 1 and 255, using 1"}}},
		"negative":       {flags: []string{"ha-connections=-3"}, connections: 1, ipVersion: "auto", want: []connector.Warning{{"ha-connections", "-3 is not between 1 and 255, using 1"}}},
		"too many":       {flags: []string{"ha-connections=300"}, connections: 255, ipVersion: "auto", want: []connector.Warning{{"ha-connections", "300 is not between 1 and 255, using 255"}}},
		"IPv6 with static IPv4 edges": {
			flags: []string{"edge-ip-version=6", "edge=192.0.2.1:7844"}, connections: 4, ipVersion: "auto",
			want: []connector.Warning{{"edge-ip-version", "6 has no effect on the addresses that --edge names"}},
		},
		"IPv6 with discovery": {flags: []string{"edge-ip-version=6"}, connections: 4, ipVersion: "6"},
		"single origin beside rules": {
			file: rules, flags: []string{"url=http://localhost:1", "hello-world=true"}, connections: 4, ipVersion: "auto",
			want: []connector.Warning{
				{"url", "no effect: the ingress rules of " + rules.Path + " decide; remove the flag or the rules"},
				{"hello-world", "no effect: the ingress rules of " + rules.Path + " decide; remove the flag or the rules"},
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := resolve(t, tc.file, nil, tc.flags...)
			if diff := cmp.Diff(tc.want, connector.Warnings(s, tc.file)); diff != "" {
				t.Errorf("Warnings() (-want +got):\n%s", diff)
			}
			cfg, err := connector.Plan(s, creds(1, "a"))
			if err != nil {
				t.Fatalf("Plan() = %v", err)
			}
			if n, m := cfg.Supervisor.Connections, cfg.Worker.Edge.Connections; n != tc.connections || m != tc.connections {
				t.Errorf("connections of supervisor and worker: %d, %d, want %d", n, m, tc.connections)
			}
			if v := cfg.Worker.Edge.IPVersion; v != tc.ipVersion {
				t.Errorf("IP version %q, want %q", v, tc.ipVersion)
			}
		})
	}
}
