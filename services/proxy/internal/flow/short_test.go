package flow_test

import (
	"bufio"
	"io"
	"net"
	"strings"
	"testing"
)

// TestShortBodyArrivesBeforeTheCut lets the origin close its connection within a body of known length. An edge that compares
// the body with that length must get the head and all that came, then FIN; the log must name the origin.
func TestShortBodyArrivesBeforeTheCut(t *testing.T) {
	for name, raw := range map[string]string{
		"some bytes": "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhello",
		"no bytes":   "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			o := rawOrigin(t, "tcp", func(c net.Conn) {
				if _, err := readRequest(bufio.NewReader(c)); err == nil {
					_, _ = io.WriteString(c, raw)
				}
			})
			l := &logs{}
			a := do(t, serve(t, rules(t, "http://"+o), l), accepting(get("GET", "/"), "frames"), "")
			_, body, _ := strings.Cut(raw, "\r\n\r\n")
			if a.status != "200" || a.body != body || a.end != nil || len(a.values("Content-Length")) != 1 {
				t.Errorf("response %+v, want 200 with %q and the end", a, body)
			}
			if text := l.String(); !strings.Contains(text, "Unable to reach the origin") || !strings.Contains(text, o) {
				t.Errorf("log %s, want a line that names the origin", text)
			}
		})
	}
}
