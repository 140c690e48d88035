package flow_test

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/culvert-tunnel/culvert/pkg/ingress"
	"github.com/culvert-tunnel/culvert/pkg/wire/stream"
	"github.com/culvert-tunnel/culvert/services/proxy/internal/dialer"
	"github.com/culvert-tunnel/culvert/services/proxy/internal/opener"
	"github.com/culvert-tunnel/culvert/services/proxy/internal/policy"
	"github.com/culvert-tunnel/culvert/services/proxy/internal/router"
)

// folder makes a directory with the files of a small site.
func folder(t *testing.T) (dir string, large []byte) {
	t.Helper()
	dir = t.TempDir()
	large = make([]byte, 3<<20+11)
	_, _ = rand.NewChaCha8([32]byte{2}).Read(large) // never fails
	for name, content := range map[string][]byte{
		"index.html": []byte("<p>home"), "large.bin": large, "a b.txt": []byte("text"), ".env": []byte("SECRET"), "down.html": []byte("<p>down"),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir, large
}

func TestFilesAsService(t *testing.T) {
	dir, large := folder(t)
	h := serve(t, compile(t, fmt.Sprintf("ingress:\n  - service: file://%s\n", dir)), nil)
	if a := do(t, h, get("GET", "/large.bin"), ""); a.status != "200" || a.end != nil || !bytes.Equal([]byte(a.body), large) {
		t.Errorf("large file: status %s, %d bytes, %v", a.status, len(a.body), a.end)
	}
	for _, tc := range []struct {
		req            stream.Request
		status, header string
		body           string
	}{
		{get("GET", "/"), "200", "Content-Type: text/html; charset=utf-8", "<p>home"},
		{get("GET", "/a%20b.txt?x=1"), "200", "Content-Length: 4", "text"},
		{get("HEAD", "/a%20b.txt"), "200", "Content-Length: 4", ""},
		{get("GET", "/a%20b.txt", "Range: bytes=1-2"), "206", "Content-Range: bytes 1-2/4", "ex"},
		{get("GET", "/%2e%2e/%2Eenv"), "404", "", "not found\n"},
		{get("GET", "/.env"), "404", "", "not found\n"},
		{get("POST", "/"), "405", "Allow: GET, HEAD", "method not allowed\n"},
	} {
		a := do(t, h, tc.req, "")
		if a.status != tc.status || a.body != tc.body || a.end != nil || tc.header != "" && !contains(a.pairs, tc.header) {
			t.Errorf("%s: %+v, want %s, %q, %q", tc.req.Dest, a, tc.status, tc.header, tc.body)
		}
	}
	ws := get("GET", "/ws", "Sec-Websocket-Key: dGhlIHNhbXBsZSBub25jZQ==")
	ws.Type = stream.WebSocket
	if a := do(t, h, ws, ""); a.status != "404" {
		t.Errorf("websocket: %+v, want 404: only the demo page echoes", a)
	}
}

// TestFilesBesideAnotherService is the form that the reference accepts as well.
func TestFilesBesideAnotherService(t *testing.T) {
	dir, _ := folder(t)
	h := serve(t, compile(t, fmt.Sprintf("ingress:\n  - service: http_status:503\n    services: ['file://%s']\n", dir)), nil)
	if a := do(t, h, get("GET", "/"), ""); a.status != "200" || a.body != "<p>home" {
		t.Errorf("%+v", a)
	}
}

func TestListingNeedsItsAction(t *testing.T) {
	dir, _ := folder(t)
	if err := os.Remove(filepath.Join(dir, "index.html")); err != nil {
		t.Fatal(err)
	}
	text := "ingress:\n  - {hostname: app.example.com, service: 'file://%s', actions: {listing: true}}\n  - service: 'file://%[1]s'\n"
	h := serve(t, compile(t, fmt.Sprintf(text, dir)), nil)
	if a := do(t, h, get("GET", "/"), ""); a.status != "200" || !strings.Contains(a.body, "a b.txt") || strings.Contains(a.body, ".env") {
		t.Errorf("listed: %+v", a)
	}
	other := get("GET", "/")
	other.Metadata[1].Val = "other.example.com"
	if a := do(t, h, other, ""); a.status != "404" {
		t.Errorf("same directory without the action: %+v", a)
	}
}

func TestRespondWithFile(t *testing.T) {
	dir, large := folder(t)
	file := filepath.Join(dir, "down.html")
	for _, tc := range []struct{ action, status, header, body string }{
		{fmt.Sprintf("respond: {status: 503, file: %s}", file), "503", "Content-Type: text/html; charset=utf-8", "<p>down"},
		{fmt.Sprintf("respond: {file: %s, contentType: text/plain}", file), "200", "Content-Type: text/plain", "<p>down"},
		{fmt.Sprintf("respond: {file: %s/large.bin}", dir), "200", "Accept-Ranges: bytes", string(large)},
		{"respond: {file: /nonexistent}", "500", "", ""},
	} {
		a := acting(t, "http://127.0.0.1:1", tc.action).ask()
		if a.status != tc.status || a.body != tc.body || tc.header != "" && !contains(a.pairs, tc.header) {
			t.Errorf("%s: status %s, %q, %d bytes, error %q", tc.action, a.status, a.pairs, len(a.body), a.err)
		}
		if strings.Contains(a.err, "nonexistent") {
			t.Errorf("the edge is told a path of this host: %q", a.err)
		}
	}
}

// TestPushedRulesServeOnlyAllowedFiles: who may change the rules of a tunnel must not read every file of the host.
func TestPushedRulesServeOnlyAllowedFiles(t *testing.T) {
	dir, _ := folder(t)
	for _, tc := range []struct {
		pushed          bool
		allow           string
		allowed, single bool
	}{
		{false, "", true, true},
		{true, "", false, false},
		{true, dir + "/", true, true},
		{true, filepath.Join(dir, "down.html"), false, true},
		{false, "none", false, false},
		{true, dir + "/sub/", false, false},
	} {
		var p *policy.Policy
		if tc.allow != "" {
			var err error
			if p, err = policy.New(policy.Config{AllowFiles: []string{tc.allow}}); err != nil {
				t.Fatal(err)
			}
		}
		open := opener.New(slog.New(slog.DiscardHandler), dialer.NewPoint(p))
		respond := `{"ingress":[{"service":"http_status:404","actions":{"respond":{"file":"%s"}}}]}`
		for text, allowed := range map[string]bool{
			fmt.Sprintf(`{"ingress":[{"service":"file://%s"}]}`, dir): tc.allowed,
			fmt.Sprintf(respond, dir+"/down.html"):                    tc.single,
			fmt.Sprintf(respond, dir+"/../x"):                         tc.allow == "" && !tc.pushed,
		} {
			doc, err := ingress.ParseJSON([]byte(text))
			if err != nil {
				t.Fatal(err)
			}
			compile := ingress.Compile
			if tc.pushed {
				compile = ingress.CompileRemote
			}
			set, err := compile(doc)
			if err != nil {
				t.Fatal(err)
			}
			table, err := router.New(set, open)
			if (err == nil) != allowed || err != nil && !errors.Is(err, policy.ErrDenied) {
				t.Errorf("%s, %+v: %v", text, tc, err)
			}
			if err == nil {
				table.Close()
			}
		}
	}
}
