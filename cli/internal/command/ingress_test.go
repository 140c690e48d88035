package command_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/culvert-tunnel/culvert/cli/internal/connector"
)

const (
	goodRules = "ingress:\n  - hostname: a.example.com\n    path: ^/api\n    service: http://localhost:1\n  - hostname: " +
		"\"*.example.com\"\n    service: ssh://localhost\n  - service: http_status:404\n"
	badRules = "ingress:\n  - hostname: a.example.com\n    service: http://localhost:1\n"
)

// TestIngressCommands runs the recorded command lines; where we differ on purpose, the reason is here.
func TestIngressCommands(t *testing.T) {
	b, err := os.ReadFile("testdata/ingress_commands.json")
	if err != nil {
		t.Fatal(err)
	}
	var vectors struct {
		Cases []struct {
			Args           []string
			ExitCode       int `json:"exit_code"`
			Stdout, Stderr string
		}
	}
	if err := json.Unmarshal(b, &vectors); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	files := map[string]string{"CONFIG": filepath.Join(dir, "config.yml"), "BADCONFIG": filepath.Join(dir, "bad.yml")}
	for name, text := range map[string]string{"CONFIG": goodRules, "BADCONFIG": badRules} {
		if err := os.WriteFile(files[name], []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	place := func(s string) string {
		return strings.NewReplacer("BADCONFIG", files["BADCONFIG"], "CONFIG", files["CONFIG"], "DIR", dir).Replace(s)
	}
	for _, tc := range vectors.Cases {
		t.Run(strings.Join(tc.Args, " "), func(t *testing.T) {
			var args []string
			for _, a := range tc.Args {
				args = append(args, place(a))
			}
			want := tc.Stdout
			if strings.HasPrefix(want, "Using rules from \n") {
				if path, err := connector.FindFile("", t.TempDir()); err == nil {
					t.Skipf("this machine has a configuration file of its own: %s", path)
				}
			}
			if strings.Contains(tc.Args[len(tc.Args)-1], "A.EXAMPLE.com") { // hosts are compared without regard to case (docs/spec/ingress.md D1)
				want = "Using rules from CONFIG\nMatched rule #0\n\thostname: a.example.com\n\tpath: ^/api\n\tservice: http://localhost:1\n"
			}
			code, stdout, stderr := run(t, nil, args...)
			if code != tc.ExitCode || stdout != place(want) || stderr != place(tc.Stderr) {
				t.Errorf("exit %d\nstdout %q\nstderr %q\nwant %d\n%q\n%q", code, stdout, stderr, tc.ExitCode, place(want), place(tc.Stderr))
			}
		})
	}
}

func TestIngressValidateWarnings(t *testing.T) {
	path := filepath.Join(t.TempDir(), "c.yml")
	if err := os.WriteFile(path, []byte("ingress:\n- service: http://localhost:1\n  originRequest:\n    noTlsVerify: true\n"),
		0o600); err != nil {
		t.Fatal(err)
	}
	code, stdout, _ := run(t, nil, "tunnel", "--config", path, "ingress", "validate")
	if code != 0 || !strings.Contains(stdout, "Warning: unused keys detected") || !strings.Contains(stdout, "noTlsVerify") ||
		strings.Contains(stdout, "OK") {
		t.Errorf("exit %d, stdout %s", code, stdout)
	}
	if err := os.WriteFile(path, []byte("ingress:\n- {hostname: A.example.com, service: 'http_status:404'}\n"+
		"- {hostname: a.example.com, service: 'http_status:404'}\n- service: http_status:404\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	code, stdout, _ = run(t, nil, "tunnel", "--config", path, "ingress", "validate")
	if code != 0 || !strings.Contains(stdout, "Warning: Rule #2 has the same hostname and path as rule #1") || !strings.Contains(stdout,
		"OK") {
		t.Errorf("validate of a rule that is never reached: exit %d, stdout %s", code, stdout)
	}
	code, _, stderr := run(t, []string{"TUNNEL_INGRESS_VALIDATE_JSON={"}, "tunnel", "ingress", "validate")
	if code != 1 || !strings.Contains(stderr, "unexpected end of JSON input") {
		t.Errorf("exit %d, stderr %s", code, stderr)
	}
}

// TestIngressValidateSaysWhatIsWrongWithAHostname: the file is refused, or accepted with a warning, as by cloudflared.
func TestIngressValidateSaysWhatIsWrongWithAHostname(t *testing.T) {
	path := filepath.Join(t.TempDir(), "c.yml")
	validate := func(hostname string, wantCode int, want string) {
		t.Helper()
		writeFile(t, path, "ingress:\n- hostname: '"+hostname+"'\n  service: http_status:404\n- service: http_status:404\n")
		code, stdout, stderr := run(t, nil, "tunnel", "--config", path, "ingress", "validate")
		if code != wantCode || !strings.Contains(stdout+stderr, want) {
			t.Errorf("validate with the hostname %q = %d %q %q, want %d and %q", hostname, code, stdout, stderr, wantCode, want)
		}
	}
	validate("https://a.example.com/x", 1, "'https://a.example.com/x' has a scheme as well: write 'a.example.com'")
	validate("a.example.com ", 0, "Rule #1 has the hostname 'a.example.com ' with a blank at an end, which no request has: write "+
		"'a.example.com'")
}
