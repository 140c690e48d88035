package flow_test

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// requestCase is one case of http_request.json, stream style.
type requestCase struct {
	Name          string        `json:"name"`
	Service       string        `json:"service"`
	OriginRequest []string      `json:"originRequest"`
	Request       vectorRequest `json:"request"`
	HTTP2         struct {
		Saw []vectorSeen `json:"origin_saw"`
	} `json:"http2"`
	Stream struct {
		Saw  []vectorSeen `json:"origin_saw"`
		Back struct {
			Body     string      `json:"body"`
			Metadata [][2]string `json:"metadata"`
			Status   string      `json:"status"`
		} `json:"went_back"`
	} `json:"stream"`
}

// vectorSeen is a request as the recorded origin saw it.
type vectorSeen struct {
	Line     string      `json:"request_line"`
	Headers  [][2]string `json:"headers"`
	Framing  string      `json:"framing"`
	Body     string      `json:"body"`
	Trailers [][2]string `json:"trailers"`
}

// want is what we compare with.
func (v vectorSeen) want(r vectorRequest) seen {
	s := seen{Line: expand(v.Line), Framing: v.Framing, Body: expand(v.Body)}
	for _, h := range v.Headers {
		s.Headers = append(s.Headers, [2]string{h[0], expand(h[1])})
	}
	for _, h := range v.Trailers {
		if s.Trailers == nil {
			s.Trailers = http.Header{}
		}
		s.Trailers.Add(h[0], h[1])
	}
	if !r.has("Accept-Encoding") { // docs/spec/ingress.md D13
		s.drop("Accept-Encoding", "gzip")
	}
	return s
}

// requestDifferences lists the cases where we differ on purpose, with the row of docs/spec/ingress.md 14, and changes what was
// recorded into what we want. docs/spec/ingress.md D13, which touches most cases, is applied by the test to every case: nothing is added to
// a request without Accept-Encoding.
var requestDifferences = map[string]struct {
	row   string
	apply func(want *seen)
}{
	"edge headers pass unchanged": {"D19", func(w *seen) { w.drop("Cf-Warp-Tag-Id", "spoofed") }},
	"stream request header: Keep-Alive and Proxy-Connection": {"D18", func(w *seen) {
		w.drop("Keep-Alive", "timeout=5")
		w.drop("Proxy-Authorization", "Basic x")
	}},
	"disableChunkedEncoding, undeclared length that looks like a request": {"D6", func(w *seen) {
		w.Framing = "content-length"
		w.Body = "GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n"
		w.Headers = slices.Insert(w.Headers, 2, [2]string{"Content-Length", "35"})
	}},
	"unix socket service ignores httpHostHeader": {"D17", func(w *seen) {
		w.Headers[0][1] = "internal.local"
		w.Headers = append(w.Headers, [2]string{"X-Forwarded-Host", "app.example.com"})
	}},
}

func (s *seen) drop(name, value string) {
	s.Headers = slices.DeleteFunc(s.Headers, func(h [2]string) bool { return h[0] == name && h[1] == value })
}

func TestRequestVectors(t *testing.T) {
	used := map[string]bool{}
	for _, c := range load[requestCase](t, "http_request.json") {
		t.Run(c.Name, func(t *testing.T) {
			used[c.Name] = true
			skipWebSocket(t, c.Request)
			rec := &recorder{}
			network := "tcp"
			if strings.HasPrefix(c.Service, "unix:") {
				network = "unix"
			}
			addr := rawOrigin(t, network, func(conn net.Conn) {
				rec.open()
				br := bufio.NewReader(conn)
				for {
					s, err := readRequest(br)
					if err != nil {
						return
					}
					rec.add(s)
					if _, err := io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"); err != nil {
						return
					}
				}
			})
			service := strings.NewReplacer("ORIGIN", addr, "SOCKET", addr).Replace(c.Service)
			a := do(t, serve(t, rules(t, service, c.OriginRequest...), nil), c.Request.wire(), expand(c.Request.Body))
			if a.end != nil || a.err != "" || a.status != c.Stream.Back.Status || a.body != c.Stream.Back.Body {
				t.Errorf("response %+v, want status %s, body %q", a, c.Stream.Back.Status, c.Stream.Back.Body)
			}
			want := c.Stream.Saw[0].want(c.Request)
			if d, ok := requestDifferences[c.Name]; ok {
				d.apply(&want)
				t.Logf("differs on purpose: %s", d.row)
			}
			if diff := cmp.Diff([]seen{want}, rec.all()); diff != "" {
				t.Errorf("origin saw (-want +got):\n%s", diff)
			}
		})
	}
	for name := range requestDifferences {
		if !used[name] {
			t.Errorf("difference for a case that does not exist: %s", name)
		}
	}
}
