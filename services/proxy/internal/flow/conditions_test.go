package flow_test

import (
	"testing"

	"github.com/culvert-tunnel/culvert/pkg/wire/stream"
)

func TestRulesByMethodHeaderQueryProtocolAndPort(t *testing.T) {
	h := serve(t, compile(t, `
ingress:
  - {service: 'http_status:211', match: {methods: [POST]}}
  - {service: 'http_status:212', match: {headers: {X-Beta: '1', Cookie: '~(^|; )beta=1'}}}
  - {service: 'http_status:213', match: {query: {v: '2'}}}
  - {service: 'http_status:214', match: {protocols: [websocket]}}
  - {service: 'http_status:215', match: {protocols: [grpc]}}
  - {service: 'http_status:216', match: {ports: [8443]}}
  - {service: 'http_status:217', match: {ports: [80]}}
  - {hostname: app.example.com, path: ^/secret, service: 'http_status:218', match: {ports: [443]},
     actions: {ipRules: [{prefix: 10.0.0.0/8, allow: true}]}}
  - service: http_status:404
`), nil)
	port := get("GET", "/")
	port.Metadata[1].Val = "app.example.com:8443"
	ws := get("GET", "/", "Sec-Websocket-Key: dGhlIHNhbXBsZSBub25jZQ==")
	ws.Type = stream.WebSocket
	for _, tc := range []struct {
		name string
		req  stream.Request
		want string
	}{
		{"none", get("GET", "/"), "404"},
		{"method", get("POST", "/"), "211"},
		{"header", get("GET", "/", "x-beta: 1", "Cookie: a=b; beta=1"), "212"},
		{"one header of two", get("GET", "/", "X-Beta: 1"), "404"},
		{"query", get("GET", "/?a=1&v=2"), "213"},
		{"websocket", ws, "214"},
		{"grpc", get("GET", "/", "Content-Type: application/grpc+proto"), "215"},
		{"port", port, "216"},
		{"scheme", get("GET", "/", "X-Forwarded-Proto: http"), "217"},
		{"ambiguous to a guarded rule", get("GET", "/x/../secret"), "400"},
		{"not ambiguous, as the conditions fail", get("POST", "/x/../secret"), "211"},
	} {
		if a := do(t, h, tc.req, ""); a.status != tc.want {
			t.Errorf("%s: status %s, want %s", tc.name, a.status, tc.want)
		}
	}
}
