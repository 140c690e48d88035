package command_test

import (
	"bytes"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/culvert-tunnel/culvert/cli/internal/command"
	"github.com/culvert-tunnel/culvert/pkg/process"
	"github.com/culvert-tunnel/culvert/pkg/redisstore/storetest"
)

func TestMain(m *testing.M) { storetest.VerifyMain(m) }

// run executes a command line in this process, with an empty home directory.
func run(t *testing.T, env []string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	host := process.Host{Args: args, Environ: append([]string{"HOME=" + t.TempDir()}, env...), Stdout: &out, Stderr: &errs}
	code = command.Run(t.Context(), host)
	return code, out.String(), errs.String()
}

func TestOneLineErrors(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	dir := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	token := "eyJhIjoiYSIsInMiOiJjM056YzNOemMzTnpjM056YzNOemMz" +
		"TnpjM056YzNOemMzTnpjM009IiwidCI6IjAwMDAwMDAwLTAwMDAtMDAwMC0wMDAwLTAwMDAwMDAwMDAwMSJ9"
	for name, tc := range map[string]struct {
		env, args []string
		want      string
	}{
		"no edge to list":      {args: []string{"tunnel", "list"}, want: "no edge of this program runs here: there is no unix:"},
		"flag without a value": {args: []string{"--url"}, want: "flag --url needs a value"},
		"wrong value":          {args: []string{"tunnel", "--retries", "x", "run"}, want: "for flag --retries: "},
		"unknown flag":         {args: []string{"tunnel", "run", "--bogus"}, want: "unknown flag --bogus; see culvert tunnel run --help"},
		"unknown tunnel flag":  {args: []string{"tunnel", "--bogus", "run"}, want: "unknown flag --bogus; see culvert tunnel --help"},
		"unknown global flag":  {args: []string{"--bogus"}, want: "unknown flag --bogus; see culvert --help"},
		"unknown command":      {args: []string{"fly"}, want: `unknown command "fly"`},
		"unknown subcommand":   {args: []string{"tunnel", "fly"}, want: `unknown command "fly"`},
		"bad flag value":       {args: []string{"tunnel", "run", "--grace-period", "x"}, want: `"x" is not a duration`},
		"bad variable":         {env: []string{"TUNNEL_RETRIES=x"}, args: []string{"tunnel", "run"}, want: "environment variable TUNNEL_RETRIES"},
		"no tunnel":            {args: []string{"tunnel", "run"}, want: "needs a token"},
		"bad token":            {env: []string{"TUNNEL_TOKEN=abc"}, args: []string{"tunnel", "run"}, want: "token is not valid"},
		"long grace period": {
			env: []string{"TUNNEL_TOKEN=" + token}, args: []string{"tunnel", "run", "--grace-period", "4m"},
			want: "--grace-period 4m0s is longer than 3m0s",
		},
		"protocol": {
			env: []string{"TUNNEL_TOKEN=" + token}, args: []string{"tunnel", "--protocol", "h3", "run"},
			want: `--protocol "h3" is none of auto, quic, http2`,
		},
		"metrics port taken": {
			env: []string{"TUNNEL_TOKEN=" + token}, args: []string{"tunnel", "--metrics", taken.Addr().String(), "run"},
			want: taken.Addr().String() + ": bind: address already in use",
		},
		"missing config": {
			args: []string{"tunnel", "--config", "/no/such.yml", "run"},
			want: "open /no/such.yml: no such file or directory",
		},
		"malformed config": {args: []string{"tunnel", "--config", file("bad.yml", "ingress:\n- service: [\n"), "run"}, want: "bad.yml"},
		"rule after catch-all": {env: []string{"TUNNEL_TOKEN=" + token}, args: []string{
			"tunnel", "--config",
			file("order.yml", "ingress:\n- service: http://localhost:1\n- hostname: a.example.com\n  service: http://localhost:1\n"), "run",
		}, want: "order.yml: rule #1: Rule #1 is matching"},
		"rule, unusable URL": {args: []string{
			"tunnel", "--config", file("good.yml", "ingress: [{service: 'http_status:404'}]\n"), "ingress", "rule", "example",
		}, want: "doesn't have a hostname"},
		"quick tunnel": {
			args: []string{"tunnel", "--url", "http://localhost:1", "--quick-service", "http://127.0.0.1:1"},
			want: "failed to request quick Tunnel",
		},
		"quick tunnel, no service": {args: []string{"tunnel", "--url", "http://localhost:1", "--quick-service", ""}, want: "nothing to run"},
		"bare tunnel":              {args: []string{"tunnel"}, want: "nothing to run"},
		"tunnel with key":          {args: []string{"tunnel", "--config", file("t.yml", "tunnel: x\n")}, want: "use culvert tunnel run"},
		"no edge":                  {args: []string{"tunnel", "list", "--edge-admin", "unix:/no/such.sock"}, want: "edge at unix:/no/such.sock"},
		"missing argument":         {args: []string{"tunnel", "create"}, want: "needs 1 argument"},
		"up, port taken": {
			args: []string{"up", "--listen", taken.Addr().String()},
			want: "public listener: listen tcp " + taken.Addr().String(),
		},
		"up, two origins":   {args: []string{"up", "--config", "x", "--url", "y"}, want: "exclude each other"},
		"up, bad config":    {args: []string{"up", "--config", file("bad2.yml", "a: [\n")}, want: "bad2.yml"},
		"up, bad level":     {args: []string{"up", "--loglevel", "loud"}, want: "loud"},
		"ready, no address": {args: []string{"tunnel", "ready"}, want: "needs --metrics"},
		"ready, no server":  {args: []string{"tunnel", "--metrics", "127.0.0.1:1", "ready"}, want: "connection refused"},
		"healthcheck":       {args: []string{"healthcheck"}, want: "needs --url"},
		"link-certs":        {args: []string{"link-certs"}, want: "one argument"},
		"service flag":      {args: []string{"edge", "--bogus"}, want: "edge: unknown flag --bogus"},
		"service store":     {args: []string{"supervisor"}, want: "supervisor: redis: url: empty"},
	} {
		t.Run(name, func(t *testing.T) {
			code, stdout, stderr := run(t, tc.env, tc.args...)
			var lines []string
			for _, line := range strings.Split(strings.TrimSpace(stderr), "\n") {
				if !strings.Contains(line, "level=INFO") && !strings.Contains(line, " INF ") {
					lines = append(lines, line)
				}
			}
			if last := lines[len(lines)-1]; code != 1 || !strings.Contains(last, tc.want) {
				t.Errorf("exit %d, stderr %s\nwant exit 1 and a last line with %q", code, stderr, tc.want)
			}
			if stdout != "" && !strings.Contains(stdout, "Validating") {
				t.Errorf("stdout %q", stdout)
			}
			if strings.Contains(stderr, token) {
				t.Error("the token was shown")
			}
		})
	}
}

func TestExitCodes(t *testing.T) {
	for want, lines := range map[int][]string{
		0: {"--help", "tunnel --help", "tunnel run --help", "up --help", "edge --help", "proxy version", "--version"},
		1: {"tunnel run --token x", "up --listen nonsense", "tunnel run --grace-period 1h --token x", "healthcheck --url http://127.0.0.1:1/"},
	} {
		for _, line := range lines {
			if code, _, stderr := run(t, nil, strings.Fields(line)...); code != want {
				t.Errorf("culvert %s: exit code %d, want %d; stderr %q", line, code, want, stderr)
			}
		}
	}
}

func TestSmallCommands(t *testing.T) {
	origin := httptest.NewServer(http.NotFoundHandler())
	defer origin.Close()
	if code, stdout, _ := run(t, nil, "version"); code != 0 || !strings.HasPrefix(stdout, "culvert version ") {
		t.Errorf("version = %d %s", code, stdout)
	}
	if code, stdout, stderr := run(t, nil); code != 1 || stdout != "" || !strings.Contains(stderr, "COMMANDS") {
		t.Errorf("bare = %d %s %s", code, stdout, stderr)
	}
	if code, _, stderr := run(t, nil, "healthcheck", "--url", origin.URL); code != 1 || !strings.Contains(stderr, "404") {
		t.Errorf("healthcheck of a 404 = %d %s", code, stderr)
	}
	dir := filepath.Join(t.TempDir(), "pki")
	for range 2 { // the second time finds what the first one made
		if code, _, stderr := run(t, nil, "link-certs", dir); code != 0 {
			t.Errorf("link-certs = %d %s", code, stderr)
		}
	}
	if code, stdout, stderr := run(t, []string{"CULVERT_REDIS_URL=redis://u:hunter2@localhost:1"}, "proxy", "config"); code != 0 ||
		strings.Contains(stdout+stderr, "hunter2") {
		t.Errorf("proxy config = %d %s %s", code, stdout, stderr)
	}
}
