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
