package settings_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/culvert-tunnel/culvert/cli/internal/settings"
)

// referenceFlags are the names of docs/spec/lifecycle.md 11.1 and docs/spec/ingress.md 5.
const referenceFlags = `config ha-connections retries max-edge-addr-retries protocol p post-quantum pq features F edge region
edge-ip-version edge-bind-address cacert grace-period rpc-timeout write-stream-timeout quic-disable-pmtu-discovery
quic-connection-level-flow-control-limit quic-stream-level-flow-control-limit max-active-flows dns-resolver-addrs icmpv4-src
icmpv6-src metrics metrics-update-freq pidfile no-prechecks label tag loglevel transport-loglevel proto-loglevel logfile
log-directory output trace-output management-hostname management-diagnostics service-op-ip stdin-control no-autoupdate
autoupdate-freq token token-file credentials-contents credentials-file cred-file origincert quick-service name n hostname lb-pool
api-url id dial-edge-timeout heartbeat-interval heartbeat-count compression-quality use-reconnect-token
proxy-connection-timeout proxy-expect-continue-timeout ui is-autoupdated api-key api-email api-ca-key url hello-world unix-socket
bastion socks5 proxy-connect-timeout proxy-tls-timeout proxy-tcp-keepalive proxy-no-happy-eyeballs proxy-keepalive-connections
proxy-keepalive-timeout http-host-header origin-server-name origin-ca-pool no-tls-verify no-chunked-encoding http2-origin
proxy-address proxy-port`

func TestTableIsCompleteAndSound(t *testing.T) {
	seen := map[string]bool{}
	env := map[string]string{}
	for _, f := range settings.Table() {
		for _, name := range append([]string{f.Name}, f.Aliases...) {
			if seen[name] {
				t.Errorf("flag %s is there twice", name)
			}
			seen[name] = true
		}
		for _, e := range f.Env {
			if env[e] != "" {
				t.Errorf("variable %s belongs to %s and %s", e, env[e], f.Name)
			}
			env[e] = f.Name
		}
		if f.Usage == "" {
			t.Errorf("flag %s has no usage text", f.Name)
		}
		if f.Default != "" {
			if err := (&settings.Value{Flag: f}).Set(f.Default); err != nil {
				t.Errorf("default of %s: %v", f.Name, err)
			}
		}
	}
	for _, name := range strings.Fields(referenceFlags) {
		if !seen[name] {
			t.Errorf("flag %s is missing", name)
		}
	}
}

func set(t *testing.T, l settings.Level, name, text string) {
	t.Helper()
	for _, v := range l {
		if v.Flag.Name == name {
			if err := v.Set(text); err != nil {
				t.Fatal(err)
			}
			return
		}
	}
	t.Fatalf("no flag %s", name)
}

func getenv(env map[string]string) func(string) string {
	return func(k string) string { return env[k] }
}

func TestPrecedence(t *testing.T) {
	file := map[string][]string{
		"retries": {"7"}, "protocol": {"quic"}, "loglevel": {"error"}, "edge": {"a:1", "b:2"},
		"output": {"json"}, "cred-file": {"/c"}, "grace-period": {"7s"},
	}
	env := map[string]string{
		"TUNNEL_TRANSPORT_PROTOCOL": "http2", "TUNNEL_LOGLEVEL": "warn", "TUNNEL_GRACE_PERIOD": "", "TUNNEL_TAG": "a=1,b=2",
		"TUNNEL_TRANSPORT_LOGLEVEL": "debug",
	}
	outer, inner := settings.NewLevel(), settings.NewLevel()
	set(t, outer, "loglevel", "debug")
	set(t, outer, "metrics", "127.0.0.1:1")
	set(t, inner, "metrics", "127.0.0.1:2")
	set(t, inner, "features", "x,y")
	set(t, inner, "features", "z")
	s, err := settings.Resolve([]settings.Level{outer, inner}, getenv(env), file, "c.yml")
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]struct {
		text   string
		source settings.Source
	}{
		"retries":            {"7", settings.FromFile},
		"protocol":           {"http2", settings.FromEnv},
		"loglevel":           {"debug", settings.FromCommandLine},
		"metrics":            {"127.0.0.1:2", settings.FromCommandLine},
		"output":             {"default", settings.FromDefault}, // not readable from the file
		"credentials-file":   {"/c", settings.FromFile},
		"grace-period":       {"7s", settings.FromFile}, // an empty variable counts as none
		"transport-loglevel": {"debug", settings.FromEnv},
		"ha-connections":     {"4", settings.FromDefault},
		"token":              {"", settings.FromDefault},
	} {
		if got := s.Text(name); got != want.text || s.Source(name) != want.source {
			t.Errorf("%s = %q from %d, want %q from %d", name, got, s.Source(name), want.text, want.source)
		}
	}
	for name, want := range map[string][]string{"edge": {"a:1", "b:2"}, "tag": {"a=1", "b=2"}, "features": {"x", "y", "z"}} {
		if d := cmp.Diff(want, s.List(name)); d != "" {
			t.Errorf("%s: %s", name, d)
		}
	}
	if s.Duration("grace-period") != 7*time.Second || s.Int("retries") != 7 || s.Uint("proxy-port") != 0 || s.Bool("ui") ||
		!s.Bool("use-reconnect-token") {
		t.Error("typed access differs from the texts")
	}
}

func TestResolveReportsEveryFault(t *testing.T) {
	_, err := settings.Resolve(nil, getenv(map[string]string{"TUNNEL_GRACE_PERIOD": "soon", "TUNNEL_RETRIES": "x"}),
		map[string][]string{"ha-connections": {"many"}, "rpc-timeout": {"1s", "2s"}}, "c.yml")
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{
		`environment variable TUNNEL_GRACE_PERIOD: "soon" is not a duration such as 30s`,
		`environment variable TUNNEL_RETRIES: "x" is not a whole number`,
		`c.yml: ha-connections: "many" is not a whole number`,
		`c.yml: rpc-timeout: a list where one value is expected`,
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("error misses %q:\n%v", want, err)
		}
	}
}

func TestShownMasksSecrets(t *testing.T) {
	l := settings.NewLevel()
	set(t, l, "token", "hunter2")
	set(t, l, "credentials-contents", "hunter2")
	set(t, l, "hostname", "a.example.com")
	set(t, l, "no-autoupdate", "true")
	set(t, l, "heartbeat-count", "3")
	s, err := settings.Resolve([]settings.Level{l}, getenv(nil), nil, "")
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"token": "***", "credentials-contents": "***", "hostname": "a.example.com", "no-autoupdate": "true", "heartbeat-count": "3",
	}
	if d := cmp.Diff(want, s.Shown()); d != "" {
		t.Errorf("Shown: %s", d)
	}
	var idle []string
	for _, f := range s.WithoutEffect() {
		if f.Reason == "" {
			t.Errorf("%s: no reason", f.Flag)
		}
		idle = append(idle, f.Flag)
	}
	if d := cmp.Diff([]string{"hostname", "heartbeat-count"}, idle); d != "" {
		t.Errorf("without effect: %s", d)
	}
}

func TestConfigurationHasNoSecretAndAbsolutePaths(t *testing.T) {
	l := settings.NewLevel()
	set(t, l, "token", "hunter2")
	set(t, l, "url", "http://user:hunter2@localhost:80")
	set(t, l, "edge", "127.0.0.1:1,127.0.0.1:2")
	set(t, l, "logfile", "culvert.log")
	s, err := settings.Resolve([]settings.Level{l}, getenv(map[string]string{"TUNNEL_GRACE_PERIOD": "2s"}), nil, "")
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"edge": "[127.0.0.1:1 127.0.0.1:2]", "logfile": "/var/culvert.log", "grace-period": "2s"}
	if d := cmp.Diff(want, s.Configuration(func(path string) (string, error) { return "/var/" + path, nil })); d != "" {
		t.Errorf("Configuration: %s", d)
	}
}
