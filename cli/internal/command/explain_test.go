package command_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestExplainRule asks why a URL meets its rule. Nobody listens on the port of its origin.
func TestExplainRule(t *testing.T) {
	path := filepath.Join(t.TempDir(), "config.yml")
	const rules = "ingress:\n- hostname: b.example.com\n  service: http_status:200\n- hostname: a.example.com\n  path: /api\n" +
		"  service: http://localhost:1\n  originRequest: {httpHostHeader: inner.test}\n- service: http_status:404\n"
	if err := os.WriteFile(path, []byte(rules), 0o600); err != nil {
		t.Fatal(err)
	}
	args := []string{"tunnel", "--config", path, "ingress", "rule"}
	code, plain, _ := run(t, nil, append(args, "https://a.example.com/v1/api")...)
	if code != 0 || strings.Contains(plain, "Origin:") {
		t.Errorf("without --explain: exit %d, %s", code, plain)
	}
	code, stdout, stderr := run(t, nil, append(args, "--explain", "https://a.example.com/v1/api")...)
	if code != 0 || !strings.HasPrefix(stdout, plain) {
		t.Fatalf("exit %d, %s%s", code, stdout, stderr)
	}
	for _, want := range []string{
		"Rule #0 does not match: the host is \"a.example.com\", not \"b.example.com\"\n",
		"Origin: http://localhost:1, over HTTP/1.1\n", "Request: Host: inner.test (httpHostHeader)", "Warning: path \"/api\" is not anchored",
		"Warning: nobody listens on port 1 of ",
	} {
		if !strings.Contains(stdout, want) {
			t.Errorf("no %q in\n%s", want, stdout)
		}
	}
}

// TestExplainConditions tries rules that ask for more than host and path.
func TestExplainConditions(t *testing.T) {
	path := filepath.Join(t.TempDir(), "config.yml")
	const rules = "ingress:\n- service: http_status:201\n  match: {methods: [POST], headers: {X-Beta: '1'}}\n" +
		"- service: http_status:202\n  match: {protocols: [websocket], ports: [8443]}\n- service: http_status:404\n"
	if err := os.WriteFile(path, []byte(rules), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		args []string
		want string
	}{
		{[]string{"https://a.test/"}, "Rule #0 does not match: the method is \"GET\", not one of [\"POST\"]\n"},
		{[]string{"--method", "POST", "https://a.test/"}, "Rule #0 does not match: no header X-Beta has the value \"1\"\n"},
		{[]string{"--method", "POST", "--header", "X-Beta: 1", "https://a.test/"}, "Matched rule #0\n"},
		{[]string{"wss://a.test/"}, "Rule #1 does not match: the port is 443, not one of [8443]\n"},
		{[]string{"wss://a.test:8443/"}, "Matched rule #1\n"},
	} {
		args := append([]string{"tunnel", "--config", path, "ingress", "rule", "--explain"}, tc.args...)
		if code, stdout, stderr := run(t, nil, args...); code != 0 || !strings.Contains(stdout, tc.want) {
			t.Errorf("%q: exit %d, %s%s, want %q", tc.args, code, stdout, stderr, tc.want)
		}
	}
	if code, _, stderr := run(t, nil, "tunnel", "--config", path, "ingress", "rule", "--header", "x", "https://a.test"); code == 0 ||
		!strings.Contains(stderr, "NAME: VALUE") {
		t.Errorf("malformed header: exit %d, %s", code, stderr)
	}
}
