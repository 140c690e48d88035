package origin

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"fmt"
	"html/template"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

//go:embed hello.html
var helloPage string

const (
	// maxEcho bounds the part of a request's body that the page shows.
	maxEcho = 16 << 10
	// defaultEvery is the pause between two events of /sse; minEvery bounds what a visitor may ask for.
	defaultEvery = 10 * time.Second
	minEvery     = time.Millisecond
)

// EchoPath is where the demo origin echoes websocket messages, which is its caller's part.
const EchoPath = "/ws"

// hello is the built-in demo origin (docs/spec/ingress.md 6.5). Nothing listens: it is called in this process.
type hello struct {
	page    *template.Template
	started time.Time
}

// header is one line of the page's table.
type header struct{ Name, Value string }

// facts is what the page shows of a request.
type facts struct {
	Method, Proto, URL, Host, Body string
	Headers                        []header
}

// Hello makes the built-in demo origin.
func Hello() http.Handler {
	return &hello{page: template.Must(template.New("hello").Parse(helloPage)), started: time.Now()}
}

// ServeHTTP routes by the path as it came: a mux would redirect to a cleaned one.
func (h *hello) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case "/uptime":
		h.uptime(w, r)
	case "/sse":
		h.events(w, r)
	case "/_health":
		write(w, "text/plain; charset=utf-8", []byte("ok\n"))
	default:
		h.index(w, r)
	}
}

func (h *hello) index(w http.ResponseWriter, r *http.Request) {
	f := facts{Method: r.Method, Proto: r.Proto, URL: r.URL.RequestURI(), Host: r.Host}
	for name, values := range r.Header {
		for _, v := range values {
			f.Headers = append(f.Headers, header{name, v})
		}
	}
	slices.SortStableFunc(f.Headers, func(a, b header) int { return strings.Compare(a.Name, b.Name) })
	if r.Body != nil {
		body, err := io.ReadAll(io.LimitReader(r.Body, maxEcho))
		if err != nil {
			http.Error(w, "request body unreadable", http.StatusBadRequest)
			return
		}
		f.Body = string(body)
	}
	var out bytes.Buffer
	if err := h.page.Execute(&out, f); err != nil {
		http.Error(w, "page unavailable", http.StatusInternalServerError)
		return
	}
	write(w, "text/html; charset=utf-8", out.Bytes())
}

func (h *hello) uptime(w http.ResponseWriter, _ *http.Request) {
	b, err := json.Marshal(struct {
		StartTime time.Time `json:"startTime"`
		Uptime    string    `json:"uptime"`
	}{h.started, time.Since(h.started).String()})
	if err != nil {
		http.Error(w, "uptime unavailable", http.StatusInternalServerError)
		return
	}
	write(w, "application/json", b)
}

// events counts up for ever, one event every ?freq=.
func (h *hello) events(w http.ResponseWriter, r *http.Request) {
	every := defaultEvery
	if text := r.URL.Query().Get("freq"); text != "" {
		d, err := time.ParseDuration(text)
		if err != nil || d < minEvery {
			http.Error(w, "freq is not a duration of a millisecond or more", http.StatusBadRequest)
			return
		}
		every = d
	}
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for n := 0; ; n++ {
		if _, err := fmt.Fprintf(w, "data: %d\n\n", n); err != nil {
			return
		}
		select {
		case <-r.Context().Done():
			return
		case <-ticker.C:
		}
	}
}

// write sends a response with a complete body.
func write(w http.ResponseWriter, contentType string, body []byte) {
	w.Header().Set("Content-Type", contentType)
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	_, _ = w.Write(body) // the visitor left; the flow ends on its own
}
