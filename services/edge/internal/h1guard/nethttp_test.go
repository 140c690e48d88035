package h1guard_test

import (
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/culvert-tunnel/culvert/services/edge/internal/h1guard"
)

// once is a listener with one connection.
type once struct {
	conn  chan net.Conn
	close func()
}

func (l *once) Accept() (net.Conn, error) {
	if c, ok := <-l.conn; ok {
		return c, nil
	}
	return nil, net.ErrClosed
}

func (l *once) Close() error   { l.close(); return nil }
func (l *once) Addr() net.Addr { return &net.TCPAddr{} }

// accepts reports whether net/http gives a text to a handler: its head, or its body without an error.
func accepts(t *testing.T, c refusal) bool {
	t.Helper()
	near, far := net.Pipe()
	l := &once{conn: make(chan net.Conn, 1)}
	l.close = sync.OnceFunc(func() { close(l.conn) })
	l.conn <- far
	requests, bodies := 0, 0
	srv := &http.Server{
		ErrorLog: log.New(io.Discard, "", 0),
		Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			requests++
			if _, err := io.Copy(io.Discard, r.Body); err == nil {
				bodies++
			}
		}),
	}
	idle := make(chan struct{})
	srv.ConnState = func(_ net.Conn, s http.ConnState) {
		if s == http.StateClosed {
			close(idle)
		}
	}
	done := make(chan struct{})
	go func() { defer close(done); _ = srv.Serve(l) }()
	go func() { _, _ = io.Copy(io.Discard, near) }()
	_, _ = io.WriteString(near, c.text)
	_ = near.Close()
	<-idle
	_ = srv.Close()
	<-done
	want := strings.Count(c.text, "HTTP/1.") // each text is refused for its last request
	switch c.phase {
	case h1guard.Between: // the refused part is that of a further request
		return requests > want
	case h1guard.Body:
		return bodies >= max(want, 1)
	default:
		return requests >= max(want, 1)
	}
}

// TestWhatNetHTTPAccepts keeps the list of docs/adr/0020 true: these are texts that the guard refuses and a server of net/http
// does not. When a release of Go changes it, the list changes with it.
func TestWhatNetHTTPAccepts(t *testing.T) {
	t.Parallel()
	var got []string
	for _, c := range refusals() {
		if accepts(t, c) {
			got = append(got, c.name)
		}
	}
	doc, err := os.ReadFile("../../../../docs/adr/0020-a-guard-stands-before-http1.md")
	if err != nil {
		t.Fatal(err)
	}
	var want []string
	for line := range strings.Lines(string(doc)) {
		if name, ok := strings.CutPrefix(line, "| "); ok && strings.Contains(name, " | ") {
			if name, _, _ = strings.Cut(name, " | "); slices.ContainsFunc(refusals(), func(c refusal) bool { return c.name == name }) {
				want = append(want, name)
			}
		}
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("net/http accepts\n%s\nthe document lists\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}
