package flow_test

import (
	"bufio"
	"io"
	"net"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/culvert-tunnel/culvert/pkg/ingress"
)

// TestResponseVectorsFramed runs the response cases for an edge that takes frames (docs/spec/ingress.md D9): trailers arrive as in http2
// style,
// and all else is as without frames.
func TestResponseVectorsFramed(t *testing.T) {
	withTrailers := 0
	for _, c := range load[responseCase](t, "http_response.json") {
		t.Run(c.Name, func(t *testing.T) {
			skipWebSocket(t, c.Request)
			addr := rawOrigin(t, "tcp", c.serve)
			service, _, _ := strings.Cut(strings.ReplaceAll(c.Service, "ORIGIN", addr), " ")
			set := ingress.Default503()
			if service != "NORULES" {
				set = rules(t, service, c.OriginRequest...)
			}
			h := serve(t, set, nil)
			plain := do(t, h, c.Request.wire(), expand(c.Request.Body))
			framed := do(t, h, accepting(c.Request.wire(), "frames"), expand(c.Request.Body))
			if framed.end != nil && plain.end != nil {
				return // how much arrived before is a race
			}
			if sized := slices.ContainsFunc(framed.pairs, func(p string) bool { return strings.HasPrefix(p, "Content-Length: ") }); sized &&
				plain.end != nil {
				return // the edge finds out by the length (TestShortBodyArrivesBeforeTheCut)
			}
			trailers := []string(nil)
			if layout(framed) == "frames" {
				var err error
				if framed.body, trailers, err = unframe(framed.body); err != nil {
					t.Fatalf("body: %v", err)
				}
			}
			framed.pairs = slices.DeleteFunc(framed.pairs, func(p string) bool {
				return strings.HasPrefix(p, "CulvertBody: ") || strings.HasPrefix(p, "Trailer: ")
			})
			slices.Sort(plain.pairs)
			slices.Sort(framed.pairs)
			if diff := cmp.Diff(plain, framed, cmp.AllowUnexported(response{}), cmpopts.EquateEmpty(), cmpopts.EquateErrors()); diff != "" {
				t.Errorf("response (-plain +framed):\n%s", diff)
			}
			var want []string
			for _, p := range c.HTTP2.Trailers {
				want = append(want, p[0]+": "+p[1])
				withTrailers++
			}
			if diff := cmp.Diff(want, trailers); diff != "" {
				t.Errorf("trailers (-http2 style +got):\n%s", diff)
			}
		})
	}
	if withTrailers == 0 {
		t.Error("no case has trailers")
	}
}

// TestRequestVectorsFramed runs the request cases that have trailers as our edge sends them (docs/spec/ingress.md D9): the origin sees
// what it
// sees in http2 style.
func TestRequestVectorsFramed(t *testing.T) {
	ran := 0
	for _, c := range load[requestCase](t, "http_request.json") {
		if len(c.Request.Trailers) == 0 {
			continue
		}
		ran++
		t.Run(c.Name, func(t *testing.T) {
			rec := &recorder{}
			addr := rawOrigin(t, "tcp", func(conn net.Conn) {
				if s, err := readRequest(bufio.NewReader(conn)); err == nil {
					rec.add(s)
					_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
				}
			})
			var names, lines []string
			for _, p := range c.Request.Trailers {
				names, lines = append(names, p[0]), append(lines, p[0]+": "+p[1])
			}
			r := framedRequest(c.Request.wire(), strings.Join(names, ","))
			h := serve(t, rules(t, strings.ReplaceAll(c.Service, "ORIGIN", addr), c.OriginRequest...), nil)
			if a := do(t, h, r, framedBody(t, []string{expand(c.Request.Body)}, lines...)); a.status != "200" || a.body != "ok" {
				t.Fatalf("response %+v", a)
			}
			if diff := cmp.Diff([]seen{c.HTTP2.Saw[0].want(c.Request)}, rec.all()); diff != "" {
				t.Errorf("origin saw (-http2 style +got):\n%s", diff)
			}
		})
	}
	if ran == 0 {
		t.Error("no case has trailers")
	}
}
