package flow_test

import (
	"net/http"
	"sync/atomic"
	"testing"

	"github.com/culvert-tunnel/culvert/pkg/wire/stream"
)

// TestRequestForAnotherProtocolIsNoOrdinaryRequest sends requests with an upgrade that cannot be passed on.
func TestRequestForAnotherProtocolIsNoOrdinaryRequest(t *testing.T) {
	var reached atomic.Int32
	url := httpOrigin(t, func(http.ResponseWriter, *http.Request) { reached.Add(1) })
	for name, tc := range map[string]struct {
		service string
		typ     stream.Type
		value   string
		status  string
	}{
		"request that is no upgrade": {url, stream.HTTP, "echo/1", "501"},
		"fixed status":               {"http_status:204", stream.WebSocket, "echo/1", "501"},
		"built-in page":              {"hello_world", stream.WebSocket, "echo/1", "501"},
		"stream service":             {"tcp://127.0.0.1:1", stream.WebSocket, "echo/1", "501"},
		"no protocol":                {url, stream.WebSocket, "", "400"},
		"control character":          {url, stream.WebSocket, "echo/1\r\nX: y", "400"},
	} {
		t.Run(name, func(t *testing.T) {
			r := get("GET", "/")
			r.Type = tc.typ
			r.Metadata = append(r.Metadata, stream.Pair{Key: stream.KeyUpgrade, Val: tc.value})
			if a := do(t, serve(t, rules(t, tc.service), nil), r, ""); a.status != tc.status || a.err == "" {
				t.Errorf("response %+v, want an error with status %s", a, tc.status)
			}
		})
	}
	if n := reached.Load(); n > 0 {
		t.Errorf("the origin got %d requests", n)
	}
}
