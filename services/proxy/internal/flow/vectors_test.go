package flow_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/culvert-tunnel/culvert/pkg/wire/stream"
)

// vectorRequest is a request of the recorded cases.
type vectorRequest struct {
	Method    string      `json:"method"`
	Host      string      `json:"host"`
	Target    string      `json:"target"`
	Headers   [][2]string `json:"headers"`
	Body      string      `json:"body"`
	Framing   string      `json:"body_framing"`
	WebSocket bool        `json:"websocket"`
	Trailers  [][2]string `json:"trailers"`
}

var repeat = regexp.MustCompile(`\{\{(.)\*(\d+)\}\}`)

// expand writes out {{c*N}}.
func expand(s string) string {
	return repeat.ReplaceAllStringFunc(s, func(m string) string {
		p := repeat.FindStringSubmatch(m)
		n, _ := strconv.Atoi(p[2])
		return strings.Repeat(p[1], n)
	})
}

// wire is the request as the edge sends it.
func (r vectorRequest) wire() stream.Request {
	q := stream.Request{Dest: "https://" + r.Host + expand(r.Target), Type: stream.HTTP, Metadata: []stream.Pair{
		{Key: stream.KeyMethod, Val: r.Method}, {Key: stream.KeyHost, Val: r.Host},
	}}
	if r.WebSocket {
		q.Type = stream.WebSocket
	}
	add := func(name, value string) {
		q.Metadata = append(q.Metadata, stream.Pair{Key: stream.HeaderPrefix + name, Val: value})
	}
	for _, h := range r.Headers {
		add(h[0], expand(h[1]))
	}
	switch r.Framing {
	case "content-length":
		add("Content-Length", strconv.Itoa(len(expand(r.Body))))
	case "chunked":
		add("Transfer-Encoding", "chunked")
	}
	return q
}

func (r vectorRequest) has(name string) bool {
	for _, h := range r.Headers {
		if strings.EqualFold(h[0], name) {
			return true
		}
	}
	return false
}

// load reads the cases of a recorded file.
func load[C any](t *testing.T, name string) []C {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Cases []C `json:"cases"`
	}
	if err := json.Unmarshal(b, &file); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	if len(file.Cases) == 0 {
		t.Fatalf("%s: no cases", name)
	}
	return file.Cases
}

// skipWebSocket leaves out what TestUpgradeVectors runs.
func skipWebSocket(t *testing.T, r vectorRequest) {
	t.Helper()
	if r.WebSocket {
		t.Skip("in TestUpgradeVectors")
	}
}
