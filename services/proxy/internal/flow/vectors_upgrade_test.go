package flow_test

import (
	"bufio"
	"io"
	"net"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/culvert-tunnel/culvert/pkg/ingress"
)

// accept101 is what the origins of the recorded websocket cases response.
const accept101 = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nX-Origin: yes\r\n" +
	"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"

// TestUpgradeRequestVectors runs the websocket cases of http_request.json: what the origin sees, and bytes both ways.
func TestUpgradeRequestVectors(t *testing.T) {
	ran := 0
	for _, c := range load[requestCase](t, "http_request.json") {
		if !c.Request.WebSocket {
			continue
		}
		ran++
		t.Run(c.Name, func(t *testing.T) {
			rec := &recorder{}
			addr := rawOrigin(t, "tcp", func(conn net.Conn) {
				br := bufio.NewReader(conn)
				s, err := readRequest(br)
				if err != nil {
					return
				}
				rec.add(s)
				_, _ = io.WriteString(conn, accept101+"echo:")
				_, _ = io.Copy(conn, br)
			})
			service := strings.ReplaceAll(c.Service, "ORIGIN", addr)
			f := start(t, serve(t, rules(t, service, c.OriginRequest...), nil), c.Request.wire())
			sent := strings.TrimPrefix(c.Stream.Back.Body, "echo:")
			f.sendAll(sent)
			a := f.finish()
			f.wait()
			slices.Sort(a.pairs)
			want := response{status: "101", body: "echo:" + sent}
			for _, m := range c.Stream.Back.Metadata {
				want.pairs = append(want.pairs, strings.TrimPrefix(m[0], "HttpHeader:")+": "+m[1])
			}
			if diff := cmp.Diff(want, a, cmp.AllowUnexported(response{})); diff != "" {
				t.Errorf("response (-want +got):\n%s", diff)
			}
			rs := c.Stream.Saw[0]
			saw := seen{Line: rs.Line, Framing: rs.Framing, Body: rs.Body, Headers: rs.Headers}
			saw.drop("Accept-Encoding", "gzip") // docs/spec/ingress.md D13
			if diff := cmp.Diff([]seen{saw}, rec.all()); diff != "" {
				t.Errorf("origin saw (-want +got):\n%s", diff)
			}
		})
	}
	if ran == 0 {
		t.Error("no cases")
	}
}

// TestUpgradeResponseVectors runs the websocket cases of http_response.json.
func TestUpgradeResponseVectors(t *testing.T) {
	ran := 0
	for _, c := range load[responseCase](t, "http_response.json") {
		if !c.Request.WebSocket {
			continue
		}
		ran++
		t.Run(c.Name, func(t *testing.T) {
			addr := rawOrigin(t, "tcp", func(conn net.Conn) {
				br := bufio.NewReader(conn)
				if _, err := readRequest(br); err != nil {
					return
				}
				_, _ = conn.Write(c.raw())
				if strings.Contains(c.Response, "101") {
					b := make([]byte, len("abc"))
					_, _ = io.ReadFull(br, b)
					_, _ = io.WriteString(conn, "got:"+string(b))
					return
				}
				if c.After == "keeps the connection open" {
					_, _ = io.Copy(io.Discard, br)
				}
			})
			set := ingress.Default503()
			if c.Service != "NORULES" {
				set = rules(t, strings.ReplaceAll(c.Service, "ORIGIN", addr), c.OriginRequest...)
			}
			var l logs
			f := start(t, serve(t, set, &l), c.Request.wire())
			f.sendAll("abc")
			a := f.finish()
			f.wait()
			slices.Sort(a.pairs)
			want := c.want()
			got := reduced{Status: a.status, Failed: a.err != "", Aborted: a.end != nil, Pairs: a.pairs, Body: a.body}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("response (-want +got):\n%s", diff)
			}
			wantErr := strings.ReplaceAll(c.Stream.Error, " ORIGIN", "") // docs/spec/ingress.md D20: no addresses
			if a.err != wantErr {
				t.Errorf("error text %q, want %q", a.err, wantErr)
			}
		})
	}
	if ran == 0 {
		t.Error("no cases")
	}
}
