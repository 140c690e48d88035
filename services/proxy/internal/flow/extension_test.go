package flow_test

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/culvert-tunnel/culvert/pkg/testkit"
	"github.com/culvert-tunnel/culvert/pkg/wire/stream"
)

// accepting adds what our own edge says it can take.
func accepting(r stream.Request, items string) stream.Request {
	r.Metadata = append(r.Metadata, stream.Pair{Key: stream.KeyAccept, Val: items})
	return r
}

// framedRequest says that the body is framed and announces trailers.
func framedRequest(r stream.Request, names string) stream.Request {
	r.Metadata = append(r.Metadata, stream.Pair{Key: stream.KeyBody, Val: stream.BodyFrames})
	return withHeaders(r, "Transfer-Encoding: chunked", "Trailer: "+names)
}

func withHeaders(r stream.Request, lines ...string) stream.Request {
	for _, line := range lines {
		name, value, _ := strings.Cut(line, ": ")
		r.Metadata = append(r.Metadata, stream.Pair{Key: stream.HeaderPrefix + name, Val: value})
	}
	return r
}

// body lays out data and trailers "Name: value" as frames.
func framedBody(t testing.TB, data []string, trailers ...string) string {
	t.Helper()
	var out []byte
	for _, d := range data {
		out = append(stream.AppendDataHeader(out, len(d)), d...)
	}
	var pairs []stream.Pair
	for _, line := range trailers {
		name, value, _ := strings.Cut(line, ": ")
		pairs = append(pairs, stream.Pair{Key: name, Val: value})
	}
	if pairs != nil {
		var err error
		if out, err = stream.AppendTrailers(out, pairs); err != nil {
			t.Fatal(err)
		}
	}
	return string(out)
}

// unframe takes a framed response apart; the trailers are sorted lines.
func unframe(body string) (data string, trailers []string, err error) {
	var d stream.Deframer
	b := []byte(body)
	n, err := d.Strip(b)
	if err == nil {
		err = d.End()
	}
	for _, p := range d.Trailers() {
		trailers = append(trailers, p.Key+": "+p.Val)
	}
	slices.Sort(trailers)
	return string(b[:n]), trailers, err
}

func layout(a response) string {
	for _, p := range a.pairs {
		if v, ok := strings.CutPrefix(p, stream.KeyBody+": "); ok {
			return v
		}
	}
	return ""
}

// canned is an HTTP/1.1 origin that reads one request head and responses these bytes.
func canned(t testing.TB, text string) string {
	t.Helper()
	return "http://" + rawOrigin(t, "tcp", func(c net.Conn) {
		br := bufio.NewReader(c)
		for {
			if _, err := readRequest(br); err != nil {
				return
			}
			if _, err := io.WriteString(c, text); err != nil {
				return
			}
		}
	})
}

func TestResponseTrailers(t *testing.T) {
	const chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n"
	const spoiled = "Content-Length: 9\r\nCf-Int-X: 1\r\nCulvert-Body: x\r\nConnection: x\r\n"
	for _, tt := range []struct {
		name, origin string
		accept       string
		layout, data string
		hint         []string
		trailers     []string
	}{
		{
			"declared", chunked + "Trailer: A, B\r\n\r\n2\r\nok\r\n0\r\nA: 1\r\nB: 2\r\n\r\n", "frames", "frames", "ok",
			[]string{"A, B"},
			[]string{"A: 1", "B: 2"},
		},
		{"undeclared", chunked + "\r\n2\r\nok\r\n0\r\nA: 1\r\nA: 2\r\n\r\n", "frames,interim", "frames", "ok", nil, []string{"A: 1", "A: 2"}},
		{"only unfit ones", chunked + "\r\n2\r\nok\r\n0\r\n" + spoiled + "\r\n", "frames", "frames", "ok", nil, nil},
		{"none", chunked + "\r\n2\r\nok\r\n0\r\n\r\n", "frames", "frames", "ok", nil, nil},
		{"not accepted", chunked + "Trailer: A\r\n\r\n2\r\nok\r\n0\r\nA: 1\r\n\r\n", "interim", "", "ok", nil, nil},
		{"known length", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", "frames", "", "ok", nil, nil},
		{"empty", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", "frames", "none", "", nil, nil},
		{"204", "HTTP/1.1 204 No Content\r\n\r\n", "frames", "none", "", nil, nil},
		{"304", "HTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\n\r\n", "frames", "none", "", nil, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a := do(t, serve(t, rules(t, canned(t, tt.origin)), nil), accepting(get("GET", "/"), tt.accept), "")
			if a.end != nil || layout(a) != tt.layout {
				t.Fatalf("response %+v, want the body as %q", a, tt.layout)
			}
			data, trailers := a.body, []string(nil)
			if tt.layout == stream.BodyFrames {
				var err error
				if data, trailers, err = unframe(a.body); err != nil {
					t.Fatalf("body %q: %v", a.body, err)
				}
			}
			if data != tt.data {
				t.Errorf("data = %q, want %q", data, tt.data)
			}
			if diff := cmp.Diff(tt.trailers, trailers); diff != "" {
				t.Errorf("trailers (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tt.hint, a.values("Trailer")); diff != "" {
				t.Errorf("Trailer (-want +got):\n%s", diff)
			}
		})
	}
}

func TestTrailersCutShort(t *testing.T) {
	for name, text := range map[string]string{
		"in the data":    "5\r\nok",
		"no trailer end": "2\r\nok\r\n0\r\nA: 1\r\n",
		"bad trailer":    "2\r\nok\r\n0\r\nA 1\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			url := "http://" + rawOrigin(t, "tcp", func(c net.Conn) {
				if _, err := readRequest(bufio.NewReader(c)); err == nil {
					_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"+text)
				}
			})
			if a := do(t, serve(t, rules(t, url), nil), accepting(get("GET", "/"), "frames"), ""); a.end == nil {
				t.Errorf("response %+v ends with FIN", a)
			}
		})
	}
}

func TestRequestTrailers(t *testing.T) {
	seen := make(chan string, 1)
	record := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var names []string
		for name := range r.Trailer {
			names = append(names, name)
		}
		slices.Sort(names)
		b, err := io.ReadAll(r.Body)
		seen <- fmt.Sprintf("%s %v %q %v %v", r.Proto, names, b, r.Trailer, err)
		w.WriteHeader(http.StatusNoContent)
	})
	for _, o := range httpOrigins(t, record) {
		t.Run(o.name, func(t *testing.T) {
			h := serve(t, rules(t, o.service, o.settings...), nil)
			r := framedRequest(get("POST", "/"), "x-sum, X-Other, Content-Length")
			a := do(t, h, r, framedBody(t, []string{"he", "", "llo"}, "x-sum: 5", "X-Unknown: 1", "Content-Length: 4"))
			if a.status != "204" {
				t.Fatalf("response %+v", a)
			}
			want := fmt.Sprintf("%s [X-Other X-Sum] %q %v <nil>", o.proto, "hello", http.Header{"X-Sum": {"5"}})
			if o.proto == "HTTP/2.0" || o.proto == "HTTP/1.1" { // a server shows announced names that did not come, too
				want = strings.Replace(want, "map[X-Sum", "map[X-Other:[] X-Sum", 1)
			}
			if got := testkit.Receive(t, "request", seen); got != want {
				t.Errorf("origin saw %s, want %s", got, want)
			}
		})
	}
}

func TestBadFramedRequests(t *testing.T) {
	url := httpOrigin(t, func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) })
	h := serve(t, rules(t, url), nil)
	for name, body := range map[string]string{
		"unknown type":     "\x07\x00\x00\x00",
		"cut":              framedBody(t, []string{"hello"})[:6],
		"bad trailer":      framedBody(t, nil, "a b: 1"),
		"control in value": framedBody(t, nil, "a: 1\n2"),
		"more after":       framedBody(t, nil, "X: 1") + framedBody(t, []string{"x"}),
	} {
		t.Run(name, func(t *testing.T) {
			a := do(t, h, framedRequest(get("POST", "/"), "X"), body)
			if a.status != "400" && a.end == nil {
				t.Errorf("response %+v, want a refusal", a)
			}
		})
	}
	t.Run("unknown layout", func(t *testing.T) {
		r := get("POST", "/")
		r.Metadata = append(r.Metadata, stream.Pair{Key: stream.KeyBody, Val: "later"})
		if a := do(t, h, r, ""); a.status != "400" {
			t.Errorf("response %+v, want 400", a)
		}
	})
}

func TestFramedRequestToAnOriginWithoutChunked(t *testing.T) {
	rec := &recorder{}
	addr := rawOrigin(t, "tcp", func(c net.Conn) {
		if s, err := readRequest(bufio.NewReader(c)); err == nil {
			rec.add(s)
			_, _ = io.WriteString(c, "HTTP/1.1 204 No Content\r\n\r\n")
		}
	})
	h := serve(t, rules(t, "http://"+addr, "disableChunkedEncoding: true"), nil)
	if a := do(t, h, framedRequest(get("POST", "/"), "X"), framedBody(t, []string{"hello"}, "X: 1")); a.status != "204" {
		t.Fatalf("response %+v", a)
	}
	if s := rec.all()[0]; s.Framing != "content-length" || s.Body != "hello" {
		t.Errorf("origin saw %+v", s)
	}
}

// interims reads responses up to the final one.
func (c *call) interims() (early []stream.Response, final stream.Response, body io.Reader) {
	c.t.Helper()
	var buf []byte
	chunk := make([]byte, 64<<10)
	for {
		var r stream.Response
		used, err := stream.ParseResponse(buf, &r)
		switch {
		case err == nil && len(r.Metadata) > 0 && strings.HasPrefix(r.Metadata[0].Val, "1"):
			early, buf = append(early, r), buf[used:]
			continue
		case err == nil:
			return early, r, io.MultiReader(bytes.NewReader(buf[used:]), c.recv)
		case !errors.Is(err, stream.ErrShort):
			c.t.Fatalf("response: %v", err)
		}
		n, err := c.recv.Read(chunk)
		buf = append(buf, chunk[:n]...)
		if err != nil {
			c.t.Fatalf("response: %v after %q", err, buf)
		}
	}
}

func texts(rs []stream.Response) (out []string) {
	for _, r := range rs {
		line := ""
		for _, p := range r.Metadata {
			line += p.Key + "=" + p.Val + ";"
		}
		out = append(out, line)
	}
	return out
}

func TestInterimResponses(t *testing.T) {
	hints := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Link", "</a.css>; rel=preload")
		w.Header().Set("Cf-Int-X", "1")
		w.WriteHeader(http.StatusEarlyHints)
		w.Header().Del("Link")
		w.Header().Del("Cf-Int-X")
		w.WriteHeader(http.StatusProcessing)
		_, _ = io.WriteString(w, "ok")
	})
	for _, o := range httpOrigins(t, hints) {
		t.Run(o.name, func(t *testing.T) {
			h := serve(t, rules(t, o.service, o.settings...), nil)
			c := start2(t, h, accepting(get("GET", "/"), "interim"), "")
			early, final, body := c.interims()
			want := []string{"HttpStatus=103;HttpHeader:Link=</a.css>; rel=preload;", "HttpStatus=102;"}
			if diff := cmp.Diff(want, texts(early)); diff != "" {
				t.Errorf("interim responses (-want +got):\n%s", diff)
			}
			b, err := io.ReadAll(body)
			if final.Metadata[0].Val != "200" || string(b) != "ok" || err != nil {
				t.Errorf("final response %+v, %q, %v", final, b, err)
			}
			if a := do(t, h, get("GET", "/"), ""); a.status != "200" || a.body != "ok" {
				t.Errorf("response to an edge that takes none: %+v", a)
			}
		})
	}
}

func TestInterimResponsesAreBounded(t *testing.T) {
	text := strings.Repeat("HTTP/1.1 102 Processing\r\n\r\n", 3*stream.MaxInterim) + "HTTP/1.1 204 No Content\r\n\r\n"
	c := start2(t, serve(t, rules(t, canned(t, text)), nil), accepting(get("GET", "/"), "interim"), "")
	early, final, _ := c.interims()
	if len(early) != stream.MaxInterim || final.Metadata[0].Val != "204" {
		t.Errorf("%d interim responses before %+v, want %d", len(early), final, stream.MaxInterim)
	}
}

func TestExpectContinue(t *testing.T) {
	greedy := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/no" {
			w.WriteHeader(http.StatusExpectationFailed)
			return
		}
		b, err := io.ReadAll(r.Body)
		_, _ = fmt.Fprintf(w, "%s %v", b, err)
	})
	for _, o := range httpOrigins(t, greedy) {
		t.Run(o.name, func(t *testing.T) {
			h := serve(t, rules(t, o.service, o.settings...), nil)
			// The body is held back until 100 has come.
			c := start(t, h, accepting(get("POST", "/", "Content-Length: 5", "Expect: 100-continue"), "interim"))
			head := make([]byte, 4096)
			var r stream.Response
			n, err := c.recv.Read(head)
			if _, perr := stream.ParseResponse(head[:n], &r); perr != nil || err != nil || r.Metadata[0].Val != "100" || len(r.Metadata) != 1 {
				t.Fatalf("first response %+v, %v, %v, want 100 alone", r, perr, err)
			}
			c.sendAll("hello")
			if a := c.finish(); a.status != "200" || a.body != "hello <nil>" {
				t.Errorf("response %+v", a)
			}
			c = start(t, h, accepting(get("POST", "/no", "Content-Length: 5", "Expect: 100-continue"), "interim"))
			early, final, _ := c.interims()
			if len(early) != 0 || final.Metadata[0].Val != "417" {
				t.Errorf("responses %v, %+v, want 417 alone", texts(early), final)
			}
			_ = c.recv.Close()
			c.wait()
		})
	}
}

func TestReservedHeadersAreDropped(t *testing.T) {
	rec := &recorder{}
	addr := rawOrigin(t, "tcp", func(c net.Conn) {
		if s, err := readRequest(bufio.NewReader(c)); err == nil {
			rec.add(s)
			_, _ = io.WriteString(c, "HTTP/1.1 204 No Content\r\nCulvert-Body: none\r\nCulvertAccept: frames\r\nX: 1\r\n\r\n")
		}
	})
	r := get("GET", "/", "Culvert-Accept: interim", "culvert_accept: interim", "CulvertClient: 1.2.3.4:5", "X-Kept: 1")
	r.Metadata = append(r.Metadata, stream.Pair{Key: stream.KeyClient, Val: "203.0.113.9:4"})
	a := do(t, serve(t, rules(t, "http://"+addr), nil), r, "")
	if diff := cmp.Diff([]string{"X: 1"}, a.pairs); diff != "" {
		t.Errorf("response's headers (-want +got):\n%s", diff)
	}
	kept := false
	for _, h := range rec.all()[0].Headers {
		kept = kept || h[0] == "X-Kept"
		if strings.HasPrefix(strings.ToLower(h[0]), "culvert") {
			t.Errorf("origin saw %v", h)
		}
	}
	if !kept {
		t.Error("origin did not see X-Kept")
	}
}
