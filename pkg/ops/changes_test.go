package ops_test

import (
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
	for _, tt := range []struct {
		name, listen, token string
		header              []string
		want                int
	}{
		{"from this host", "127.0.0.1:0", "", []string{json}, http.StatusNoContent},
		{"from this host, without the token", "127.0.0.1:0", file, []string{json}, http.StatusUnauthorized},
		{"from this host to an open listener", "0.0.0.0:0", "", []string{json}, http.StatusNoContent},
		{"by a public name", "0.0.0.0:0", "", []string{json, "Host: ops.internal"}, http.StatusForbidden},
		{"without the token", "0.0.0.0:0", file, []string{json}, http.StatusUnauthorized},
		{"with another token", "0.0.0.0:0", file, []string{json, "Authorization: Bearer sesame"}, http.StatusUnauthorized},
		{"with the token", "0.0.0.0:0", file, []string{json, "Authorization: Bearer open sesame"}, http.StatusNoContent},
		{
			"with the token, through a proxy", "0.0.0.0:0", file,
			[]string{json, "Authorization: Bearer open sesame", "X-Forwarded-For: 192.0.2.1", "Host: ops.internal"},
			http.StatusNoContent,
		},
		{"a form", "127.0.0.1:0", "", []string{"Content-Type: text/plain"}, http.StatusForbidden},
		{"a page of another site", "127.0.0.1:0", "", []string{json, "Sec-Fetch-Site: cross-site"}, http.StatusForbidden},
		{"a page of an old browser", "127.0.0.1:0", "", []string{json, "Origin: https://example.com"}, http.StatusForbidden},
		{"a page of this host", "127.0.0.1:0", "", []string{json, "Sec-Fetch-Site: same-origin"}, http.StatusForbidden},
		{"through a proxy", "127.0.0.1:0", "", []string{json, "X-Forwarded-For: 192.0.2.1"}, http.StatusForbidden},
		{"through a tunnel", "127.0.0.1:0", "", []string{json, "Cf-Ray: 1-AMS"}, http.StatusForbidden},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cfg := ops.Config{Listen: tt.listen, Hosts: []string{"ops.internal"}, TokenFile: tt.token}
			_, url := start(t, cfg, map[string]any{"part": &fakePart{}})
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
			resp, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(req)
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
