package flow_test

import (
	"bufio"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/culvert-tunnel/culvert/pkg/testkit"
	"github.com/culvert-tunnel/culvert/pkg/wire/stream"
)

// large is the size of the bodies that must pass whole.
const large = 16 << 20

// httpOrigin is a real HTTP server.
func httpOrigin(t testing.TB, h http.HandlerFunc) string {
	t.Helper()
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	return srv.URL
}

// noise is size bytes and their digest, of a repeated random block.
func noise(t *testing.T, size int) (io.Reader, string) {
	t.Helper()
	block := make([]byte, 1<<20-7) // no power of two: a repeated or lost buffer shows
	if _, err := rand.Read(block); err != nil {
		t.Fatal(err)
	}
	var readers []io.Reader
	digest := sha256.New()
	for left := size; left > 0; left -= len(block) {
		b := block[:min(left, len(block))]
		readers = append(readers, strings.NewReader(string(b)))
		digest.Write(b)
	}
	return io.MultiReader(readers...), hex.EncodeToString(digest.Sum(nil))
}

func TestLargeBodies(t *testing.T) {
	for _, framing := range []string{"Content-Length: " + fmt.Sprint(large), "Transfer-Encoding: chunked"} {
		t.Run(framing, func(t *testing.T) {
			down, downSum := noise(t, large)
			up, upSum := noise(t, large)
			url := httpOrigin(t, func(w http.ResponseWriter, r *http.Request) {
				digest := sha256.New()
				n, err := io.Copy(digest, r.Body)
				w.Header().Set("X-Up", fmt.Sprintf("%d %x %v", n, digest.Sum(nil), err))
				if strings.HasPrefix(framing, "Content") {
					w.Header().Set("Content-Length", fmt.Sprint(large))
				}
				_, _ = io.Copy(w, down)
			})
			c := start(t, serve(t, rules(t, url), nil), get("POST", "/", framing))
			if _, err := io.Copy(c.send, up); err != nil {
				t.Fatalf("send: %v", err)
			}
			_ = c.send.Close()
			r, body, err := c.head()
			if err != nil {
				t.Fatalf("head: %v", err)
			}
			if got, want := pair(r, "X-Up"), fmt.Sprintf("%d %s <nil>", large, upSum); got != want {
				t.Errorf("origin got %s, want %s", got, want)
			}
			digest := sha256.New()
			n, err := io.Copy(digest, body)
			if got := hex.EncodeToString(digest.Sum(nil)); n != large || err != nil || got != downSum {
				t.Errorf("response: %d bytes, %v, %s; want %d bytes, %s", n, err, got, large, downSum)
			}
			c.wait()
		})
	}
}

func pair(r stream.Response, name string) string {
	for _, p := range r.Metadata {
		if p.Key == stream.HeaderPrefix+name {
			return p.Val
		}
	}
	return ""
}

func TestSlowReaderHoldsTheOriginBack(t *testing.T) {
	sent := make(chan int, 1)
	url := httpOrigin(t, func(w http.ResponseWriter, r *http.Request) {
		n := 0
		block := make([]byte, 64<<10)
		for n < large && r.Context().Err() == nil {
			k, err := w.Write(block)
			n += k
			if err != nil {
				break
			}
		}
		sent <- n
	})
	c := start2(t, serve(t, rules(t, url), nil), get("GET", "/"), "")
	_, body, err := c.head()
	if err != nil {
		t.Fatalf("head: %v", err)
	}
	if _, err := io.CopyN(io.Discard, body, 100<<10); err != nil {
		t.Fatalf("read: %v", err)
	}
	_ = c.recv.Close() // the visitor leaves after 100 KiB
	c.wait()
	if n := testkit.Receive(t, "origin's request ended", sent); n >= large {
		t.Errorf("origin sent all %d bytes although nobody read them", n)
	}
}

func TestEventsArriveOneByOne(t *testing.T) {
	next := make(chan struct{})
	url := httpOrigin(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		w.(http.Flusher).Flush()
		for i := range 3 {
			<-next
			_, _ = fmt.Fprintf(w, "data: %d\n\n", i)
			w.(http.Flusher).Flush()
		}
	})
	c := start2(t, serve(t, rules(t, url), nil), get("GET", "/"), "")
	r, body, err := c.head() // before any event
	if err != nil || pair(r, "Content-Type") != "text/event-stream" {
		t.Fatalf("head: %+v, %v", r, err)
	}
	br := bufio.NewReader(body)
	for i := range 3 {
		next <- struct{}{}
		line, err := br.ReadString('\n')
		if want := fmt.Sprintf("data: %d\n", i); line != want || err != nil {
			t.Fatalf("event %d: %q, %v; want %q", i, line, err, want)
		}
		if _, err := br.ReadString('\n'); err != nil {
			t.Fatal(err)
		}
	}
	if rest, err := io.ReadAll(br); len(rest) > 0 || err != nil {
		t.Errorf("after the last event: %q, %v", rest, err)
	}
}

func TestResponsesWithoutBody(t *testing.T) {
	url := httpOrigin(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/204":
			w.WriteHeader(http.StatusNoContent)
		case "/0":
			w.Header().Set("Content-Length", "0")
		default:
			w.Header().Set("Content-Length", "500")
			_, _ = io.WriteString(w, strings.Repeat("x", 500))
		}
	})
	h := serve(t, rules(t, url), nil)
	for _, tc := range []struct{ method, path, status, length string }{
		{"HEAD", "/", "200", "500"}, {"GET", "/204", "204", ""}, {"GET", "/0", "200", "0"},
	} {
		c := start2(t, h, get(tc.method, tc.path), "")
		a := c.finish()
		c.wait()
		length := strings.Join(a.values("Content-Length"), "|")
		if a.status != tc.status || a.body != "" || a.end != nil || length != tc.length {
			t.Errorf("%s %s: %+v, want status %s, length %q, no body", tc.method, tc.path, a, tc.status, tc.length)
		}
		if c.stream.writes != 1 {
			t.Errorf("%s %s: %d writes, want 1", tc.method, tc.path, c.stream.writes)
		}
	}
}

func TestNotModifiedKeepsItsLength(t *testing.T) {
	addr := rawOrigin(t, "tcp", func(conn net.Conn) {
		if _, err := readRequest(bufio.NewReader(conn)); err == nil {
			_, _ = io.WriteString(conn, "HTTP/1.1 304 Not Modified\r\nContent-Length: 77\r\n\r\n")
		}
	})
	a := do(t, serve(t, rules(t, "http://"+addr), nil), get("GET", "/"), "")
	if a.status != "304" || a.body != "" || a.end != nil || len(a.values("Content-Length")) != 1 {
		t.Errorf("response: %+v", a)
	}
}

func TestSmallResponseGoesOutInOneWrite(t *testing.T) {
	url := httpOrigin(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "200")
		_, _ = io.WriteString(w, strings.Repeat("x", 200))
	})
	c := start2(t, serve(t, rules(t, url), nil), get("GET", "/"), "")
	if a := c.finish(); len(a.body) != 200 || a.end != nil {
		t.Errorf("response: %+v", a)
	}
	c.wait()
	if c.stream.writes != 1 {
		t.Errorf("%d writes, want 1", c.stream.writes)
	}
}

func TestResponseBeforeTheBodyEnds(t *testing.T) {
	url := httpOrigin(t, func(w http.ResponseWriter, r *http.Request) {
		_ = http.NewResponseController(w).EnableFullDuplex()
		br := bufio.NewReader(r.Body)
		for {
			line, err := br.ReadString('\n')
			_, _ = io.WriteString(w, strings.ToUpper(line))
			_ = http.NewResponseController(w).Flush()
			if err != nil {
				return
			}
		}
	})
	c := start(t, serve(t, rules(t, url), nil), get("POST", "/", "Transfer-Encoding: chunked"))
	_, _ = io.WriteString(c.send, "one\n")
	_, body, err := c.head()
	if err != nil {
		t.Fatalf("head: %v", err)
	}
	br := bufio.NewReader(body)
	for i, send := range []string{"two\n", "three\n", ""} {
		want := []string{"ONE\n", "TWO\n", "THREE\n"}[i]
		if got, err := br.ReadString('\n'); got != want || err != nil {
			t.Fatalf("got %q, %v; want %q", got, err, want)
		}
		_, _ = io.WriteString(c.send, send)
	}
	_ = c.send.Close()
	if rest, err := io.ReadAll(br); len(rest) > 0 || err != nil {
		t.Errorf("after the last line: %q, %v", rest, err)
	}
}

func TestWholeResponseWhileTheBodyIsStuck(t *testing.T) {
	url := httpOrigin(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Connection", "close")
		w.WriteHeader(http.StatusRequestEntityTooLarge)
		_, _ = io.WriteString(w, "too large")
	})
	c := start(t, serve(t, rules(t, url), nil), get("POST", "/", "Content-Length: 1000000"))
	go func() { _, _ = io.WriteString(c.send, "the rest never comes") }() // nobody reads it when the response comes first
	a := c.finish()
	if a.status != "413" || a.body != "too large" || a.end != nil {
		t.Errorf("response: %+v", a)
	}
	c.wait() // no read of the stream is left
}

func TestCancelReachesTheOrigin(t *testing.T) {
	for _, when := range []string{"before the head", "during the response", "during the request body"} {
		t.Run(when, func(t *testing.T) {
			began, ended := make(chan struct{}), make(chan struct{})
			url := httpOrigin(t, func(w http.ResponseWriter, r *http.Request) {
				if when == "during the response" {
					_, _ = io.WriteString(w, "first")
					w.(http.Flusher).Flush()
				}
				close(began)
				if when == "during the request body" {
					_, _ = io.Copy(io.Discard, r.Body)
				} else {
					<-r.Context().Done()
				}
				close(ended)
			})
			var l logs
			h := serve(t, rules(t, url), &l)
			req := get("GET", "/")
			if when == "during the request body" {
				req = get("POST", "/", "Content-Length: 1000000")
			}
			c := start(t, h, req)
			if when == "during the request body" {
				_, _ = io.WriteString(c.send, "some")
			}
			testkit.Receive(t, "origin called", began)
			if when == "during the request body" {
				_ = c.send.CloseWithError(errors.New("reset by the edge"))
			} else {
				c.cancel()
			}
			testkit.Receive(t, "origin's request ended", ended)
			if a := c.finish(); a.end == nil {
				t.Errorf("response ended by FIN: %+v", a)
			}
			c.wait()
			if l.String() != "" {
				t.Errorf("a cancellation was logged above debug: %s", l.String())
			}
		})
	}
}

func TestOriginDiesInTheMiddle(t *testing.T) {
	for _, head := range []string{"Content-Length: 1000", "Transfer-Encoding: chunked"} {
		t.Run(head, func(t *testing.T) {
			addr := rawOrigin(t, "tcp", func(conn net.Conn) {
				if _, err := readRequest(bufio.NewReader(conn)); err == nil {
					_, _ = fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\n%s\r\n\r\n5\r\nhello\r\n", head)
				}
			})
			a := do(t, serve(t, rules(t, "http://"+addr), nil), get("GET", "/"), "")
			if !errors.Is(a.end, errAborted) {
				t.Errorf("response: %+v, want an abort", a)
			}
		})
	}
}

func TestFlowsAtOnce(t *testing.T) {
	url := httpOrigin(t, func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body) // all of it first: this server drops the rest once a response begins
		_, _ = w.Write(b)
	})
	h := serve(t, rules(t, url), nil)
	const flows = 100
	responses := make(chan error, flows)
	for i := range flows {
		body := strings.Repeat(fmt.Sprintf("%08d", i), i*37)
		c := start2(t, h, get("POST", "/", fmt.Sprintf("Content-Length: %d", len(body))), body)
		go func() {
			a := c.finish()
			if a.body != body || a.status != "200" || a.end != nil {
				responses <- fmt.Errorf("flow %d: status %s, %d bytes, %w", i, a.status, len(a.body), a.end)
				return
			}
			responses <- nil
		}()
	}
	for range flows {
		if err := testkit.Receive(t, "an response", responses); err != nil {
			t.Error(err)
		}
	}
	testkit.Eventually(t, "no flow in flight", func() bool { return h.InFlight() == 0 })
}

func TestUnixAndH2C(t *testing.T) {
	path := t.TempDir() + "/o.sock"
	l, err := (&net.ListenConfig{}).Listen(context.Background(), "unix", path)
	if err != nil {
		t.Fatal(err)
	}
	echo := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		_, _ = fmt.Fprintf(w, "%s %s %s", r.Proto, r.Host, b)
	})
	unix := httptest.NewUnstartedServer(echo)
	_ = unix.Listener.Close()
	unix.Listener = l
	unix.Start()
	t.Cleanup(unix.Close)
	h2c := httptest.NewUnstartedServer(echo)
	h2c.Config.Protocols = new(http.Protocols)
	h2c.Config.Protocols.SetUnencryptedHTTP2(true)
	h2c.Start()
	t.Cleanup(h2c.Close)
	for _, tc := range []struct{ service, want string }{
		{"unix:" + path, "HTTP/1.1 app.example.com hello"},
		{strings.Replace(h2c.URL, "http:", "h2c:", 1), "HTTP/2.0 app.example.com hello"},
	} {
		a := do(t, serve(t, rules(t, tc.service), nil), get("POST", "/", "Content-Length: 5"), "hello")
		if a.body != tc.want || a.end != nil {
			t.Errorf("%s: %+v, want %q", tc.service, a, tc.want)
		}
	}
}
