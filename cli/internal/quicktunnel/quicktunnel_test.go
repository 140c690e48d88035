package quicktunnel_test

import (
	"bytes"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/culvert-tunnel/culvert/cli/internal/quicktunnel"
	"github.com/culvert-tunnel/culvert/pkg/stocklog"
)

const (
	id     = "6f0a1de4-3a1e-4b8e-9b0a-0123456789ab"
	secret = "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0"
	good   = `{"success":true,"result":{"id":"` + id + `","name":"n","hostname":"a-b.example.com","account_tag":"tag","secret":"` + secret +
		`"},"errors":[]}`
)

func ask(t *testing.T, status int, body string) (quicktunnel.Tunnel, string, *http.Request, error) {
	t.Helper()
	var seen *http.Request
	service := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		sent, err := io.ReadAll(r.Body)
		if err != nil || len(sent) > 0 {
			t.Errorf("body of the request: %q, %v", sent, err)
		}
		seen = r
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}))
	defer service.Close()
	var log bytes.Buffer
	tunnel, err := quicktunnel.Request(t.Context(), slog.New(stocklog.NewHandler(stocklog.Levels{},
		stocklog.Output{Writer: &log, Encode: stocklog.Console(false)})), service.URL, "culvert/test")
	return tunnel, log.String(), seen, err
}

func TestRequest(t *testing.T) {
	got, log, req, err := ask(t, http.StatusOK, good)
	if err != nil {
		t.Fatal(err)
	}
	if got.Credentials.TunnelID.String() != id || got.Credentials.AccountTag != "tag" ||
		string(got.Credentials.Secret) != "secret-secret-secret-secret" {
		t.Errorf("credentials: %v, secret of %d bytes", got.Credentials, len(got.Credentials.Secret))
	}
	if got.Hostname != "a-b.example.com" || got.URL() != "https://a-b.example.com" {
		t.Errorf("host name %q, URL %q", got.Hostname, got.URL())
	}
	if req.Method != http.MethodPost || req.URL.Path != "/tunnel" || req.Header.Get("Content-Type") != "application/json" ||
		req.UserAgent() != "culvert/test" || req.ContentLength != 0 {
		t.Errorf("request: %s %s %v", req.Method, req.URL, req.Header)
	}
	for _, want := range []string{
		"|  Your quick Tunnel has been created! Visit it at (it may take some time to be reachable):  |",
		"|  https://a-b.example.com" + strings.Repeat(" ", 88-len("https://a-b.example.com")) + "  |",
		"+" + strings.Repeat("-", 92) + "+",
	} {
		if !strings.Contains(log, want) {
			t.Errorf("no %q in the log:\n%s", want, log)
		}
	}
	if strings.Contains(log, secret) || strings.Contains(log, "secret-secret") {
		t.Errorf("the log shows the secret:\n%s", log)
	}
}

func TestRefusals(t *testing.T) {
	for name, tc := range map[string]struct {
		status      int
		body        string
		err, logged string
	}{
		"page":   {429, "<html>slow down", "failed to unmarshal quick Tunnel", "Error unmarshaling QuickTunnel response: <html>slow down"},
		"empty":  {502, "", "502 Bad Gateway", "Error unmarshaling"},
		"reason": {429, `{"success":false,"errors":[{"code":1015,"message":"slow down"}]}`, `refused: "slow down" (code 1015)`, ""},
		"no id":  {200, `{"success":true,"result":{"id":"x"}}`, "failed to parse quick Tunnel ID", ""},
		"secret": {200, `{"result":{"id":"` + id + `","secret":"?"}}`, "failed to unmarshal quick Tunnel", ""},
	} {
		t.Run(name, func(t *testing.T) {
			_, log, _, err := ask(t, tc.status, tc.body)
			if err == nil || !strings.Contains(err.Error(), tc.err) {
				t.Errorf("error %v, want %q in it", err, tc.err)
			}
			if !strings.Contains(log, tc.logged) {
				t.Errorf("no %q in the log:\n%s", tc.logged, log)
			}
		})
	}
}

func FuzzBox(f *testing.F) {
	f.Add("a", "longer")
	f.Add("", "ünïcode")
	f.Fuzz(func(t *testing.T, a, b string) {
		box := quicktunnel.Box(a, b)
		if len(box) != 4 || box[0] != box[3] {
			t.Fatalf("%q", box)
		}
		for i, line := range []string{a, b} {
			if !strings.HasPrefix(box[i+1], "|  "+line) {
				t.Errorf("%q does not hold %q", box[i+1], line)
			}
		}
	})
}
