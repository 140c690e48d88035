package ops_test

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/culvert-tunnel/culvert/pkg/ops"
)

// TestChanges: who may change something, by the listener, the token file and the request.
func TestChanges(t *testing.T) {
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte("open sesame\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	json := "Content-Type: application/json"
	t.Setenv("TMPDIR", t.TempDir())
	for _, tt := range []struct {
		name, listen, token string
		socket              bool
		header              []string
		want                int
	}{
		{"from this host", "127.0.0.1:0", "", false, []string{json}, http.StatusForbidden},
		{"from this host to an open listener", "0.0.0.0:0", "", false, []string{json}, http.StatusForbidden},
		{"from this host, without the token", "127.0.0.1:0", file, false, []string{json}, http.StatusUnauthorized},
		{"without the token", "0.0.0.0:0", file, false, []string{json}, http.StatusUnauthorized},
		{"with another token", "0.0.0.0:0", file, false, []string{json, "Authorization: Bearer sesame"}, http.StatusUnauthorized},
		{"with the token", "0.0.0.0:0", file, false, []string{json, "Authorization: Bearer open sesame"}, http.StatusNoContent},
		{"with a token where there is none", "127.0.0.1:0", "", false, []string{json, "Authorization: Bearer "}, http.StatusForbidden},
		{
			"with the token, through a proxy", "0.0.0.0:0", file, false,
			[]string{json, "Authorization: Bearer open sesame", "X-Forwarded-For: 192.0.2.1", "Host: ops.internal"},
			http.StatusNoContent,
		},
		{"over the socket", "127.0.0.1:0", "", true, []string{json}, http.StatusNoContent},
		{"over the socket, where there is a token", "127.0.0.1:0", file, true, []string{json}, http.StatusNoContent},
		{"over the socket of an open listener", "0.0.0.0:0", "", true, []string{json}, http.StatusNoContent},
		{"a form over the socket", "127.0.0.1:0", "", true, []string{"Content-Type: text/plain"}, http.StatusForbidden},
		{"a page over the socket", "127.0.0.1:0", "", true, []string{json, "Sec-Fetch-Site: cross-site"}, http.StatusForbidden},
		{
			"a page of an old browser over the socket", "127.0.0.1:0", "", true,
			[]string{json, "Origin: https://example.com"},
			http.StatusForbidden,
		},
		{"through a proxy over the socket", "127.0.0.1:0", "", true, []string{json, "X-Forwarded-For: 192.0.2.1"}, http.StatusForbidden},
		{"through a tunnel over the socket", "127.0.0.1:0", "", true, []string{json, "Cf-Ray: 1-AMS"}, http.StatusForbidden},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cfg := ops.Config{Listen: tt.listen, Hosts: []string{"ops.internal"}, TokenFile: tt.token}
			s, url := start(t, cfg, map[string]any{"part": &fakePart{}})
			req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url+"/v1/change", strings.NewReader("{}"))
			if err != nil {
				t.Fatal(err)
			}
			for _, h := range tt.header {
				name, value, _ := strings.Cut(h, ": ")
				if name == "Host" {
					req.Host = value
				}
				req.Header.Set(name, value)
			}
			transport := &http.Transport{DisableKeepAlives: true}
			if tt.socket {
				transport.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
					var d net.Dialer
					return d.DialContext(ctx, "unix", s.Socket())
				}
			}
			resp, err := (&http.Client{Transport: transport}).Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			if resp.StatusCode != tt.want {
				t.Errorf("status %d, want %d", resp.StatusCode, tt.want)
			}
		})
	}
}

// TestSocket: the Unix socket is for this user alone, is found by the address of the TCP listener, and goes with the process.
func TestSocket(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	t.Setenv("RUNTIME_DIRECTORY", "")
	cfg := ops.Config{Listen: "127.0.0.1:0"}
	s, url := start(t, cfg, map[string]any{"part": &fakePart{}})
	info, err := os.Stat(s.Socket())
	if err != nil || info.Mode().Perm() != 0o600 || info.Mode().Type() != os.ModeSocket {
		t.Fatalf("socket %q: %v, %v", s.Socket(), info, err)
	}
	for address, want := range map[string]string{
		url: "unix:" + s.Socket(), "http://192.0.2.1:1": "http://192.0.2.1:1", "unix:/x": "unix:/x",
		strings.Replace(url, "127.0.0.1", "localhost", 1): "unix:" + s.Socket(),
	} {
		if got := ops.LocalSocket(t.Context(), address); got != want {
			t.Errorf("the socket of %s is %s, want %s", address, got, want)
		}
	}
	c, err := ops.Dial("test", "unix:"+s.Socket(), nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.Call(t.Context(), http.MethodPost, "/v1/change", map[string]int{}, nil); err != nil {
		t.Errorf("a change over the socket: %v", err)
	}

	// One that was killed leaves its socket behind. The next one with its address removes it; other files stay.
	dead := filepath.Join(filepath.Dir(s.Socket()), "ops-"+strings.ReplaceAll(s.Addr().String(), ":", "_")+"-dead.sock")
	left, err := net.ListenUnix("unix", &net.UnixAddr{Name: dead, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	left.SetUnlinkOnClose(false)
	_ = left.Close()
	former := s.Socket()
	next := ops.Config{Listen: s.Addr().String()}
	stop(t, s)
	if _, err := os.Stat(former); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the socket is still there: %v", err)
	}
	if s, _ = start(t, next, nil); s.Socket() == former || s.Socket() == "" {
		t.Errorf("socket %q after %q", s.Socket(), former)
	}
	if _, err := os.Stat(dead); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the socket of the dead process is still there: %v", err)
	}
	if s, _ := start(t, ops.Config{Listen: "127.0.0.1:0", Socket: "none"}, nil); s.Socket() != "" || len(s.Listeners()) != 1 {
		t.Errorf("none: socket %q, listeners %v", s.Socket(), s.Listeners())
	}
	named := filepath.Join(t.TempDir(), "named.sock")
	if s, _ := start(t, ops.Config{Listen: "127.0.0.1:0", Socket: named}, nil); s.Socket() != named {
		t.Errorf("named: socket %q", s.Socket())
	}
	if _, err := ops.New(t.Context(), ops.Config{Listen: "127.0.0.1:0", Socket: "/nowhere/x.sock"}, ops.Deps{}); err == nil ||
		!strings.Contains(err.Error(), "ops.socket") {
		t.Errorf("in a directory that is not there: %v", err)
	}
	t.Setenv("TMPDIR", filepath.Join(t.TempDir(), "missing"))
	if s, _ := start(t, ops.Config{Listen: "127.0.0.1:0"}, nil); s.Socket() != "" {
		t.Errorf("without a directory: socket %q", s.Socket())
	}
}
