package flow_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/culvert-tunnel/culvert/pkg/testkit"
	"github.com/culvert-tunnel/culvert/pkg/wire/stream"
)

// rpcOrigin behaves as gRPC servers do: messages with a five-byte head, the status in the trailers.
type rpcOrigin struct {
	cancelled chan string
	written   atomic.Int64
}

func message(text string) []byte {
	return append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(text))), text...)
}

func readMessage(r io.Reader) (string, error) {
	head := make([]byte, 5)
	if _, err := io.ReadFull(r, head); err != nil {
		return "", err
	}
	text := make([]byte, binary.BigEndian.Uint32(head[1:]))
	_, err := io.ReadFull(r, text)
	return string(text), err
}

func (o *rpcOrigin) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/grpc")
	flush := http.NewResponseController(w).Flush
	switch r.URL.Path {
	case "/unary":
		m, err := readMessage(r.Body)
		_, after := readMessage(r.Body)
		w.Header().Set("Trailer", "Grpc-Status, Grpc-Message")
		_, _ = w.Write(message(fmt.Sprintf("%s %v %v %s %s", m, err, after, r.Header.Get("Te"), r.Header.Get("Grpc-Timeout"))))
		w.Header().Set("Grpc-Status", "0")
		w.Header().Set("Grpc-Message", "fine")
	case "/trailers-only":
		w.Header().Set("Grpc-Status", "12")
		w.Header().Set("Grpc-Message", strings.Repeat("m", 1000))
	case "/bidi":
		w.WriteHeader(http.StatusOK)
		_ = flush() // the head goes before any message has come
		for {
			m, err := readMessage(r.Body)
			if err != nil {
				w.Header().Set(http.TrailerPrefix+"Grpc-Status", map[error]string{io.EOF: "0"}[err])
				return
			}
			_, _ = w.Write(message("re: " + m))
			_ = flush()
		}
	case "/cancel":
		_, _ = w.Write(message("first"))
		_ = flush()
		_, err := readMessage(r.Body)
		<-r.Context().Done()
		o.cancelled <- fmt.Sprint(err != nil)
	case "/flood":
		block := make([]byte, 16<<10)
		for r.Context().Err() == nil {
			n, err := w.Write(block)
			o.written.Add(int64(n))
			if err != nil {
				break
			}
		}
		o.cancelled <- "true"
	}
}

// rpcOrigins are the origins that gRPC works with.
func rpcOrigins(t *testing.T, o http.Handler) []testOrigin {
	t.Helper()
	var out []testOrigin
	for _, c := range httpOrigins(t, o) {
		if c.proto == "HTTP/2.0" {
			out = append(out, c)
		}
	}
	return out
}

func rpcRequest(path string) stream.Request {
	return accepting(get("POST", path, "Content-Type: application/grpc", "Te: trailers", "Grpc-Timeout: 5S",
		"Transfer-Encoding: chunked"), "frames,interim")
}

// unframing reads a framed body as its bytes come.
type unframing struct {
	r io.Reader
	d stream.Deframer
	p []byte
}

func (u *unframing) Read(p []byte) (int, error) {
	for len(u.p) == 0 {
		buf := make([]byte, 32<<10)
		n, err := u.r.Read(buf)
		n, ferr := u.d.Strip(buf[:n])
		if u.p = buf[:n]; n > 0 {
			break
		}
		if ferr == nil && err == io.EOF {
			ferr = u.d.End()
		}
		if ferr != nil {
			return 0, ferr
		}
		if err != nil {
			return 0, err
		}
	}
	n := copy(p, u.p)
	u.p = u.p[n:]
	return n, nil
}

func (u *unframing) trailers() (out []string) {
	for _, p := range u.d.Trailers() {
		out = append(out, p.Key+": "+p.Val)
	}
	return out
}

func TestGRPCUnary(t *testing.T) {
	for _, o := range rpcOrigins(t, &rpcOrigin{}) {
		t.Run(o.name, func(t *testing.T) {
			a := do(t, serve(t, rules(t, o.service, o.settings...), nil), rpcRequest("/unary"), string(message("hi")))
			data, trailers, err := unframe(a.body)
			if want := string(message("hi <nil> EOF trailers 5S")); data != want || err != nil || a.end != nil {
				t.Errorf("response %+v: %q, %v, want %q", a, data, err, want)
			}
			if diff := cmp.Diff([]string{"Grpc-Message: fine", "Grpc-Status: 0"}, trailers); diff != "" {
				t.Errorf("trailers (-want +got):\n%s", diff)
			}
		})
	}
}

func TestGRPCTrailersOnly(t *testing.T) {
	for _, o := range rpcOrigins(t, &rpcOrigin{}) {
		t.Run(o.name, func(t *testing.T) {
			a := do(t, serve(t, rules(t, o.service, o.settings...), nil), rpcRequest("/trailers-only"), string(message("hi")))
			if layout(a) != stream.BodyNone || a.body != "" || a.end != nil || len(a.values("Grpc-Status")) != 1 {
				t.Errorf("response %+v, want no body and the status in the head", a)
			}
		})
	}
}

func TestGRPCBidi(t *testing.T) {
	for _, o := range rpcOrigins(t, &rpcOrigin{}) {
		t.Run(o.name, func(t *testing.T) {
			c := start(t, serve(t, rules(t, o.service, o.settings...), nil), rpcRequest("/bidi"))
			r, body, err := c.head() // comes although no message has been sent
			if err != nil || r.Metadata[0].Val != "200" {
				t.Fatalf("head %+v, %v", r, err)
			}
			in := &unframing{r: body}
			for i := range 20 {
				text := fmt.Sprintf("%d %s", i, strings.Repeat("x", 10_000*i))
				go func() { _, _ = c.send.Write(message(text)) }()
				if m, err := readMessage(in); m != "re: "+text || err != nil {
					t.Fatalf("message %d = %.20q (%d bytes), %v", i, m, len(m), err)
				}
			}
			_ = c.send.Close()
			if _, err := readMessage(in); !errors.Is(err, io.EOF) {
				t.Errorf("after the last message: %v", err)
			}
			if diff := cmp.Diff([]string{"Grpc-Status: 0"}, in.trailers()); diff != "" {
				t.Errorf("trailers (-want +got):\n%s", diff)
			}
			c.wait()
		})
	}
}

// TestGRPCCancel resets the stream the three ways an edge can: it no longer reads, it gives the request up, the flow's
// context ends.
func TestGRPCCancel(t *testing.T) {
	for way, cancel := range map[string]func(*call){
		"context": func(c *call) { c.cancel() },
		"reset of the request": func(c *call) {
			_ = c.send.CloseWithError(errAborted)
		},
		"response not read": func(c *call) { c.cancel(); _ = c.recv.Close() },
	} {
		origin := &rpcOrigin{cancelled: make(chan string, 1)}
		for _, o := range rpcOrigins(t, origin) {
			t.Run(o.name+" "+way, func(t *testing.T) {
				c := start(t, serve(t, rules(t, o.service, o.settings...), nil), rpcRequest("/cancel"))
				_, body, err := c.head()
				if err != nil {
					t.Fatalf("head: %v", err)
				}
				if m, err := readMessage(&unframing{r: body}); m != "first" || err != nil {
					t.Fatalf("message %q, %v", m, err)
				}
				cancel(c)
				if got := testkit.Receive(t, "origin noticed", origin.cancelled); got != "true" {
					t.Error("the origin took the request for whole")
				}
				c.wait()
			})
		}
	}
}

func TestGRPCBackPressure(t *testing.T) {
	const bound = 64 << 20
	origin := &rpcOrigin{cancelled: make(chan string, 1)}
	for _, o := range rpcOrigins(t, origin) {
		t.Run(o.name, func(t *testing.T) {
			origin.written.Store(0)
			c := start2(t, serve(t, rules(t, o.service, o.settings...), nil), rpcRequest("/flood"), "")
			_, body, err := c.head()
			if err != nil {
				t.Fatalf("head: %v", err)
			}
			if _, err := io.CopyN(io.Discard, body, 1<<20); err != nil {
				t.Fatal(err)
			}
			// Nobody reads on. What the origin may still write is bounded by the windows on the way.
			last := int64(-1)
			testkit.Eventually(t, "origin stopped", func() bool {
				now := origin.written.Load()
				same := now == last
				last = now
				return same
			})
			if last > bound {
				t.Errorf("origin wrote %d bytes for a reader of 1 MiB", last)
			}
			c.cancel()
			testkit.Receive(t, "origin noticed", origin.cancelled)
			_ = c.recv.Close()
			c.wait()
		})
	}
}

// TestEventsComeOneByOne lets the origin wait until the visitor has seen each event, whatever the type of the content.
func TestEventsComeOneByOne(t *testing.T) {
	seen := make(chan struct{})
	events := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if kind := r.URL.Query().Get("type"); kind != "" {
			w.Header().Set("Content-Type", kind)
		}
		for i := range 5 {
			_, _ = fmt.Fprintf(w, "data: %d\n\n", i)
			_ = http.NewResponseController(w).Flush()
			select {
			case <-seen:
			case <-r.Context().Done():
				return
			}
		}
	})
	for _, o := range httpOrigins(t, events) {
		for _, kind := range []string{"", "text/event-stream", "text/plain", "application/octet-stream"} {
			for _, accept := range []string{"", "frames"} {
				t.Run(o.name+" "+kind+" "+accept, func(t *testing.T) {
					c := start2(t, serve(t, rules(t, o.service, o.settings...), nil), accepting(get("GET", "/?type="+kind), accept), "")
					_, body, err := c.head()
					if err != nil {
						t.Fatalf("head: %v", err)
					}
					if accept != "" {
						body = &unframing{r: body}
					}
					for i := range 5 {
						want := fmt.Sprintf("data: %d\n\n", i)
						b := make([]byte, len(want))
						if _, err := io.ReadFull(body, b); err != nil || string(b) != want {
							t.Fatalf("event %d = %q, %v", i, b, err)
						}
						seen <- struct{}{}
					}
					if rest, err := io.ReadAll(body); len(rest) > 0 || err != nil {
						t.Errorf("after the events %q, %v", rest, err)
					}
					c.wait()
				})
			}
		}
	}
}

// TestEarlyResponse lets the origin response in full while the request's body still comes.
func TestEarlyResponse(t *testing.T) {
	early := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_ = http.NewResponseController(w).EnableFullDuplex()
		w.Header().Set("Content-Length", "5")
		_, _ = io.WriteString(w, "early")
		_ = http.NewResponseController(w).Flush()
	})
	for _, o := range httpOrigins(t, early) {
		t.Run(o.name, func(t *testing.T) {
			c := start(t, serve(t, rules(t, o.service, o.settings...), nil), get("POST", "/", "Transfer-Encoding: chunked"))
			go func() { _, _ = io.WriteString(c.send, "a piece") }() // perhaps nobody reads it
			if a := c.finish(); a.status != "200" || a.body != "early" || a.end != nil {
				t.Errorf("response %+v", a)
			}
			c.wait() // although the visitor has not ended its body
		})
	}
}

// TestLargeHeaders passes 64 KiB of headers both ways.
func TestLargeHeaders(t *testing.T) {
	const size = 64 << 10
	mirror := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for name, values := range r.Header {
			if strings.HasPrefix(name, "X-Big-") {
				w.Header()[name] = values
			}
		}
		w.WriteHeader(http.StatusNoContent)
	})
	for _, o := range httpOrigins(t, mirror) {
		t.Run(o.name, func(t *testing.T) {
			var lines []string
			for i := range 16 {
				lines = append(lines, fmt.Sprintf("X-Big-%d: %s", i, strings.Repeat("v", size/16)))
			}
			a := do(t, serve(t, rules(t, o.service, o.settings...), nil), get("GET", "/", lines...), "")
			got := 0
			for i := range 16 {
				for _, v := range a.values(fmt.Sprintf("X-Big-%d", i)) {
					got += len(v)
				}
			}
			if a.status != "204" || got != size {
				t.Errorf("response %s with %d bytes of headers back", a.status, got)
			}
		})
	}
}

// TestOriginGivesUpOnASilentVisitor lets the origin break the exchange while the visitor neither sends nor ends its body.
func TestOriginGivesUpOnASilentVisitor(t *testing.T) {
	breaks := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_ = http.NewResponseController(w).EnableFullDuplex() // or an HTTP/1.1 server would wait for the body
		if r.URL.Path == "/after" {
			w.WriteHeader(http.StatusOK)
			_ = http.NewResponseController(w).Flush()
		}
		if c, _, err := http.NewResponseController(w).Hijack(); err == nil { // an HTTP/1.1 server would read the body first
			_ = c.Close()
			return
		}
		panic(http.ErrAbortHandler)
	})
	for _, o := range httpOrigins(t, breaks) {
		t.Run(o.name, func(t *testing.T) {
			h := serve(t, rules(t, o.service, o.settings...), nil)
			for _, expect := range []string{"X: 1", "Expect: 100-continue"} {
				r := accepting(get("POST", "/before", "Transfer-Encoding: chunked", expect), "frames")
				if a := start(t, h, r).finish(); a.status != "502" || a.err == "" || a.end != nil {
					t.Errorf("response %+v, want a refusal", a)
				}
			}
			c := start(t, h, rpcRequest("/after"))
			if a := c.finish(); a.end == nil {
				t.Errorf("response %+v, want a reset", a) // the head may be lost with it
			}
			c.wait()
		})
	}
}
