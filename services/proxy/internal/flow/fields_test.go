package flow_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/culvert-tunnel/culvert/pkg/wire/httpfield"
	"github.com/culvert-tunnel/culvert/services/proxy/internal/flow"
)

// fields makes n header lines.
func fields(n int) (lines []string) {
	for i := range n {
		lines = append(lines, fmt.Sprintf("X-%d: v", i))
	}
	return lines
}

func TestRequestFieldsAreBounded(t *testing.T) {
	within := httpfield.DefaultLimits().BehindEdge()
	h := limited(t, flow.Limits{}, "http_status:204")
	if a := do(t, h, get("GET", "/", fields(within.MaxFields)...), ""); a.status != "204" {
		t.Errorf("header within the limit: %+v", a)
	}
	for what, lines := range map[string][]string{
		"number":         fields(within.MaxFields + 1),
		"size":           {"X: " + strings.Repeat("v", within.MaxBytes)},
		"dropped fields": strings.Split(strings.Repeat("Keep-Alive: x\n", within.MaxFields+1), "\n")[:within.MaxFields+1],
	} {
		if a := do(t, h, get("GET", "/", lines...), ""); a.status != "431" || a.err == "" || a.end != nil {
			t.Errorf("header beyond the limit (%s): status %s, error %q", what, a.status, a.err)
		}
	}
}

// TestRequestTargetIsBounded counts path and query, and not the authority.
func TestRequestTargetIsBounded(t *testing.T) {
	const most = 100
	h := limited(t, flow.Limits{TargetBytes: most}, "http_status:204")
	for target, want := range map[string]string{
		"/" + strings.Repeat("a", most-1):     "204",
		"/?" + strings.Repeat("a", most-2):    "204",
		"/" + strings.Repeat("a", most):       "414",
		"/?q=" + strings.Repeat("%41", most):  "414",
		"/" + strings.Repeat("a/../", 2*most): "414",
	} {
		if a := do(t, h, get("GET", target), ""); a.status != want || a.end != nil {
			t.Errorf("target of %d bytes: status %s, error %q, want %s", len(target), a.status, a.err, want)
		}
	}
}

// TestResponseFieldsAreBounded lets origins of every kind send too many fields: in the header and in an interim response.
func TestResponseFieldsAreBounded(t *testing.T) {
	limit := httpfield.DefaultLimits().MaxFields
	origin := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for i := range limit + 1 {
			w.Header()[fmt.Sprintf("X-%d", i)] = []string{"v"}
		}
		if r.URL.Path == "/interim" {
			w.WriteHeader(http.StatusEarlyHints)
			clear(w.Header())
		}
		w.WriteHeader(http.StatusOK)
	})
	for _, o := range httpOrigins(t, origin) {
		t.Run(o.name, func(t *testing.T) {
			h := limited(t, flow.Limits{}, o.service, o.settings...)
			a := do(t, h, get("GET", "/"), "")
			if a.status != "502" || !strings.Contains(a.err, "response header fields exceed a limit") || len(a.pairs) > 0 {
				t.Errorf("header beyond the limit: status %s, error %q, %d fields", a.status, a.err, len(a.pairs))
			}
		})
	}
}

// TestFieldsThatConnectionNamesEndHere names a field beside "close", which is a case of its own in clients.
func TestFieldsThatConnectionNamesEndHere(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header()["Connection"] = []string{"close, x-hop, Content-Length"}
		w.Header()["X-Hop"] = []string{"1"}
		w.Header()["X-Keep"] = []string{"1"}
		_, _ = w.Write([]byte("ok"))
	}))
	defer srv.Close()
	a := do(t, limited(t, flow.Limits{}, srv.URL), get("GET", "/"), "")
	if a.status != "200" || a.body != "ok" || len(a.values("X-Hop")) > 0 || len(a.values("X-Keep")) != 1 ||
		len(a.values("Content-Length")) != 1 {
		t.Errorf("response %+v", a)
	}
}
