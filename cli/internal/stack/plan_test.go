package stack_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/culvert-tunnel/culvert/cli/internal/settings"
	"github.com/culvert-tunnel/culvert/cli/internal/stack"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

// resolve gives the settings of a command line.
func resolve(t *testing.T, flags ...string) *settings.Settings {
	t.Helper()
	level := settings.NewLevel()
	for _, kv := range flags {
		name, text, _ := strings.Cut(kv, "=")
		for _, v := range level {
			if v.Flag.Name == name {
				if err := v.Set(text); err != nil {
					t.Fatalf("--%s: %v", kv, err)
				}
			}
		}
	}
	s, err := settings.Resolve([]settings.Level{level}, func(string) string { return "" }, nil, "")
	if err != nil {
		t.Fatalf("resolve %q: %v", flags, err)
	}
	return s
}

func creds() tunnel.Credentials {
	return tunnel.Credentials{AccountTag: "a", Secret: tunnel.Secret(strings.Repeat("s", 32)), TunnelID: tunnel.ID{15: 1}}
}

func TestPlan(t *testing.T) {
	s := resolve(t, "ha-connections=2", "grace-period=3m", "edge=127.0.0.1:1,127.0.0.1:2", "tag=a=b", "edge-ip-version=auto",
		"rpc-timeout=7s", "post-quantum=true", "edge-bind-address=127.0.0.1", "features=x", "region=us",
		"protocol=h2mux", "retries=7", "token-file=/x", "write-stream-timeout=4s")
	cfg, err := stack.Plan(s, creds())
	if err != nil {
		t.Fatal(err)
	}
	w := cfg.Worker
	if w.Edge.Connections != 2 || cfg.Supervisor.Connections != 2 || w.GracePeriod != 3*time.Minute || w.RPCTimeout != 7*time.Second ||
		!w.PostQuantum || w.Edge.IPVersion != "auto" || w.Edge.BindAddress != "127.0.0.1" || len(cfg.Discovery.Static) != 2 ||
		cfg.Discovery.SRV.Region != "us" ||
		len(cfg.Proxy.Tags) != 1 || len(w.Features) != 1 || w.Edge.Protocol != "h2mux" || w.Edge.Retries != 7 ||
		w.Streams.WriteTimeout != 4*time.Second || cfg.Proxy.Streams.WriteTimeout != 4*time.Second || !cfg.FromToken ||
		w.QUIC.StreamWindow != 6291456 {
		t.Errorf("Plan = %+v", cfg)
	}
	if err := w.Validate(); err != nil {
		t.Error(err)
	}
}

func TestPlanErrors(t *testing.T) {
	bound := creds()
	bound.Endpoint = "fed"
	for flag, want := range map[string]string{
		"grace-period=3m1s":           "--grace-period 3m1s is longer than 3m0s",
		"protocol=QUIC":               `--protocol "QUIC" is none of`,
		"edge-private-addresses=yes":  `--edge-private-addresses "yes" is neither refuse nor allow`,
		"edge-ip-version=5":           `--edge-ip-version "5" is none of auto, 4, 6`,
		"edge-bind-address=x":         `--edge-bind-address "x" is not an IP address`,
		"edge-bind-address=192.0.2.1": "--edge-bind-address: listen udp 192.0.2.1:0",
		"cacert=/no/such/ca.pem":      "--cacert: stat /no/such/ca.pem",
		"edge=a,b":                    "--edge a, b is not HOST:PORT",
		"region=us":                   "--region us is given, but the credentials are bound to region fed",
	} {
		if _, err := stack.Plan(resolve(t, flag), bound); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", flag, err, want)
		}
	}
}

// TestWarnings: what the reference starts with starts here, and says what has no effect.
func TestWarnings(t *testing.T) {
	for name, tc := range map[string]struct {
		rulesFile   string
		flags       []string
		want        []stack.Warning
		connections int
		ipVersion   string
	}{
		"nothing given": {connections: 4, ipVersion: "auto"},
		"no connections": {flags: []string{"ha-connections=0"}, connections: 1, ipVersion: "auto", want: []stack.Warning{{
			"ha-connections",
			"0 is not between 1 and 255, using 1",
		}}},
		"negative": {flags: []string{"ha-connections=-3"}, connections: 1, ipVersion: "auto", want: []stack.Warning{{
			"ha-connections",
			"-3 is not between 1 and 255, using 1",
		}}},
		"too many": {flags: []string{"ha-connections=300"}, connections: 255, ipVersion: "auto", want: []stack.Warning{{
			"ha-connections",
			"300 is not between 1 and 255, using 255",
		}}},
		"IPv6 with static IPv4 edges": {
			flags: []string{"edge-ip-version=6", "edge=192.0.2.1:7844"}, connections: 4, ipVersion: "auto",
			want: []stack.Warning{{"edge-ip-version", "6 has no effect on the addresses that --edge names"}},
		},
		"edges without a port": {
			flags: []string{"edge=192.0.2.1:7844,no-port,:1"}, connections: 4, ipVersion: "auto",
			want: []stack.Warning{{"edge", "no-port, :1 is not HOST:PORT and is left out"}},
		},
		"IPv6 with discovery": {flags: []string{"edge-ip-version=6"}, connections: 4, ipVersion: "6"},
		"single origin beside rules": {
			rulesFile: "config.yml", flags: []string{"url=http://localhost:1", "hello-world=true"}, connections: 4, ipVersion: "auto",
			want: []stack.Warning{
				{"url", "no effect: the ingress rules of config.yml decide; remove the flag or the rules"},
				{"hello-world", "no effect: the ingress rules of config.yml decide; remove the flag or the rules"},
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := resolve(t, tc.flags...)
			if diff := cmp.Diff(tc.want, stack.Warnings(s, tc.rulesFile)); diff != "" {
				t.Errorf("Warnings() (-want +got):\n%s", diff)
			}
			cfg, err := stack.Plan(s, creds())
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

// TestOddNumbers: values that the reference starts with although they make no sense.
func TestOddNumbers(t *testing.T) {
	empty := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(empty, []byte("no certificate"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := resolve(t, "retries=-1", "grace-period=-1s", "write-stream-timeout=-2s", "rpc-timeout=0s", "cacert="+empty,
		"quic-connection-level-flow-control-limit=0", "quic-stream-level-flow-control-limit=0")
	want := []stack.Warning{
		{"retries", "-1 is negative, using 0"},
		{"grace-period", "-1s is negative, using 0s"},
		{"write-stream-timeout", "-2s is negative, using 0s"},
		{"rpc-timeout", "0s is not positive, using the default"},
		{"quic-connection-level-flow-control-limit", "0 is no window, using the default"},
		{"quic-stream-level-flow-control-limit", "0 is no window, using the default"},
		{"cacert", empty + " holds no certificate, using the default roots"},
	}
	if diff := cmp.Diff(want, stack.Warnings(s, "")); diff != "" {
		t.Errorf("Warnings() (-want +got):\n%s", diff)
	}
	cfg, err := stack.Plan(s, creds())
	if err != nil {
		t.Fatal(err)
	}
	w := cfg.Worker
	if err := w.Validate(); err != nil {
		t.Error(err)
	}
	if w.Edge.Retries != 0 || w.GracePeriod != 0 || w.Streams.WriteTimeout != 0 || w.RPCTimeout != 5*time.Second || w.Edge.CACert != "" ||
		w.QUIC.ConnectionWindow != 31457280 || w.QUIC.StreamWindow != 6291456 {
		t.Errorf("Plan() = %+v", w)
	}
}
