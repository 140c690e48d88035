package flow_test

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/culvert-tunnel/culvert/pkg/ingress"
)

// responseCase is one case of http_response.json, stream style.
type responseCase struct {
	Name          string        `json:"name"`
	Service       string        `json:"service"`
	OriginRequest []string      `json:"originRequest"`
	Response      string        `json:"origin_response"`
	After         string        `json:"origin_after_response"`
	Request       vectorRequest `json:"request"`
	HTTP2         struct {
		Trailers [][2]string `json:"trailers"`
	} `json:"http2"`
	Stream struct {
		Status   string      `json:"status"`
		Body     string      `json:"body"`
		BodyEnd  string      `json:"body_end"`
		Error    string      `json:"error"`
		Reset    string      `json:"stream_error"`
		Metadata [][2]string `json:"metadata"`
	} `json:"stream"`
}

// reduced is a response reduced to what the vectors promise.
type reduced struct {
	Status  string
	Failed  bool // an error text in place of a response
	Aborted bool
	Pairs   []string
	Body    string
}

// zipped is the response of the case whose bytes the file does not hold.
func zipped() []byte {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, _ = io.WriteString(w, "hello hello hello")
	_ = w.Close()
	return b.Bytes()
}

// responseDifferences lists the cases where we differ on purpose, with the row of docs/spec/ingress.md 14 or the reason.
var responseDifferences = map[string]struct {
	row   string
	apply func(want *reduced)
}{
	"large response headers, 900 KiB": {"header sections are bounded (docs/limits.md)", func(w *reduced) {
		*w = reduced{Status: "502", Failed: true}
	}},
	"control response headers without the invalid one": {"D19", func(w *reduced) {
		w.Pairs = []string{"Cf-Ray: 1", "Content-Length: 2"}
	}},
	"gzip answer when the request had no Accept-Encoding": {"D13", func(w *reduced) {
		z := zipped()
		w.Body, w.Pairs = string(z), []string{"Content-Encoding: gzip", fmt.Sprintf("Content-Length: %d", len(z))}
	}},
	"broken gzip when the request had no Accept-Encoding": {"D13", func(w *reduced) {
		*w = reduced{Status: "200", Body: "notgz", Pairs: []string{"Content-Encoding: gzip", "Content-Length: 5"}}
	}},
	"101 to a plain request": {"D20: a switch that nobody asked for is an origin's fault", func(w *reduced) {
		*w = reduced{Status: "502", Failed: true}
	}},
	"http_status:101": {"D20: refused before the head instead of a reset", func(w *reduced) {
		*w = reduced{Status: "502", Failed: true}
	}},
	"tcp service, plain GET, nothing listens": {"D12", func(w *reduced) {
		*w = reduced{
			Status: "426", Body: "This service speaks websocket only.\n",
			Pairs: []string{"Content-Length: 36", "Content-Type: text/plain; charset=utf-8", "Upgrade: websocket"},
		}
	}},
}

func (c responseCase) serve(conn net.Conn) {
	br := bufio.NewReader(conn)
	for {
		if _, err := readRequest(br); err != nil {
			return
		}
		if _, err := conn.Write(c.raw()); err != nil {
			return
		}
		switch c.After {
		case "resets the connection":
			if tcp, ok := conn.(*net.TCPConn); ok {
				_ = tcp.SetLinger(0)
			}
			return
		case "keeps the connection open":
		default:
			return
		}
	}
}

// raw is the origin's response, with what the file abbreviates.
func (c responseCase) raw() []byte {
	switch {
	case strings.Contains(c.Response, "(gzip bytes)"):
		z := zipped()
		return fmt.Appendf(nil, "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n%s", len(z), z)
	case strings.HasPrefix(c.Name, "large response headers"):
		return []byte("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Big: " + strings.Repeat("z", 921600) + "\r\n\r\nok")
	}
	return []byte(c.Response)
}

// want is what was recorded.
func (c responseCase) want() reduced {
	w := reduced{Status: c.Stream.Status, Failed: c.Stream.Error != "", Body: expand(c.Stream.Body)}
	if c.Stream.Reset != "" || c.Stream.BodyEnd != "end-of-stream" {
		return reduced{Aborted: true}
	}
	if w.Failed {
		w.Status = "502" // docs/spec/ingress.md D20: the reference gives no status
	}
	for _, m := range c.Stream.Metadata {
		v := m[1]
		if v == "(921600 bytes)" {
			v = strings.Repeat("z", 921600)
		}
		w.Pairs = append(w.Pairs, strings.TrimPrefix(m[0], "HttpHeader:")+": "+v)
	}
	return w
}

func TestResponseVectors(t *testing.T) {
	used := map[string]bool{}
	for _, c := range load[responseCase](t, "http_response.json") {
		t.Run(c.Name, func(t *testing.T) {
			used[c.Name] = true
			skipWebSocket(t, c.Request)
			addr := rawOrigin(t, "tcp", c.serve)
			service, _, _ := strings.Cut(strings.ReplaceAll(c.Service, "ORIGIN", addr), " ")
			set := ingress.Default503()
			if service != "NORULES" {
				set = rules(t, service, c.OriginRequest...)
			}
			var l logs
			a := do(t, serve(t, set, &l), c.Request.wire(), expand(c.Request.Body))
			got := reduced{Status: a.status, Failed: a.err != "", Aborted: a.end != nil, Pairs: a.pairs, Body: a.body}
			slices.Sort(got.Pairs)
			if got.Aborted { // how much arrived before is a race
				got = reduced{Aborted: true}
			}
			want := c.want()
			if d, ok := responseDifferences[c.Name]; ok {
				d.apply(&want)
				t.Logf("differs on purpose: %s", d.row)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("response (-want +got):\n%s", diff)
			}
			const prefix = "Unable to reach the origin service. The service may be down or it may not be responding to traffic from cloudflared: "
			if got.Failed && (!strings.HasPrefix(a.err, prefix) || strings.Contains(a.err, "127.0.0.1")) {
				t.Errorf("error text %q: want the known beginning and no address", a.err)
			}
			lines := strings.Count(l.String(), `"msg":"request failed"`)
			failed := got.Failed || got.Aborted || c.Name == "access required but no token"
			if failed != (lines == 1) || lines > 1 { // docs/spec/ingress.md D21
				t.Errorf("%d log lines for failed=%v:\n%s", lines, failed, l.String())
			}
		})
	}
	for name := range responseDifferences {
		if !used[name] {
			t.Errorf("difference for a case that does not exist: %s", name)
		}
	}
}
