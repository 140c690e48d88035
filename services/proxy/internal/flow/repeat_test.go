package flow_test

import (
	"testing"

	"github.com/culvert-tunnel/culvert/pkg/link"
	"github.com/culvert-tunnel/culvert/pkg/wire/stream"
	"github.com/culvert-tunnel/culvert/services/proxy/internal/flow"
)

// TestRepeats: a repeat is served if its method is safe and it has no body. Otherwise it is aborted, whatever else is wrong with
// it: a response with status 503 would make an edge send the request once more.
func TestRepeats(t *testing.T) {
	open := flow.Limits{}
	ofType := func(r stream.Request, typ stream.Type) stream.Request {
		r.Type = typ
		return r
	}
	tests := map[string]struct {
		req    stream.Request
		body   string
		limits flow.Limits
		served bool
	}{
		"GET":                  {req: get("GET", "/"), limits: open, served: true},
		"HEAD":                 {req: get("HEAD", "/"), limits: open, served: true},
		"OPTIONS":              {req: get("OPTIONS", "/"), limits: open, served: true},
		"no method means GET":  {req: get("", "/"), limits: open, served: true},
		"TRACE":                {req: get("TRACE", "/"), limits: open},
		"POST":                 {req: get("POST", "/"), limits: open},
		"PUT":                  {req: get("PUT", "/"), limits: open},
		"DELETE":               {req: get("DELETE", "/"), limits: open},
		"lower case":           {req: get("get", "/"), limits: open},
		"length":               {req: get("GET", "/", "Content-Length: 3"), body: "abc", limits: open},
		"chunked":              {req: get("GET", "/", "Transfer-Encoding: chunked"), body: "abc", limits: open},
		"bytes without length": {req: get("GET", "/"), body: "abc", limits: open},
		"websocket":            {req: ofType(get("GET", "/"), stream.WebSocket), limits: open},
		"tcp":                  {req: stream.Request{Dest: "127.0.0.1:1", Type: stream.TCP}, limits: open},
		"malformed":            {req: get("POST", "/", "Bad Name: x"), limits: open},
		"too many flows":       {req: get("POST", "/"), limits: flow.Limits{Flows: -1}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			head, err := tt.req.Append(nil)
			if err != nil {
				t.Fatal(err)
			}
			c := startMeta(t, limited(t, tt.limits, "http_status:204"), link.Meta{Repeat: true})
			c.sendAll(string(head) + tt.body)
			a := c.finish()
			c.wait()
			if tt.served && (a.status != "204" || a.end != nil) {
				t.Errorf("response %+v, want 204", a)
			}
			if !tt.served && (a.status != "" || a.end == nil) {
				t.Errorf("response %+v, want a reset", a)
			}
		})
	}
}
