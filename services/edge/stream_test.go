package edge_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/testkit"
	"github.com/culvert-tunnel/culvert/pkg/transport"
	"github.com/culvert-tunnel/culvert/pkg/wire/stream"
	"github.com/culvert-tunnel/culvert/services/edge"
)

func TestEarlyResponseDuringUpload(t *testing.T) {
	t.Parallel()
	b := start(t, nil)
	b.connect(0, 0, origin)
	for name, c := range b.clients() {
		pr, pw := io.Pipe()
		go func() {
			for {
				if _, err := pw.Write(make([]byte, 4096)); err != nil {
					return
				}
			}
		}()
		req, _ := http.NewRequestWithContext(t.Context(), http.MethodPost, c.base+"/early", pr)
		resp, err := c.client.Do(req)
		if err != nil {
			_ = pr.Close()
			t.Errorf("%s: %v", name, err)
			continue
		}
		body, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		_ = pr.Close()
		if resp.StatusCode != 413 || string(body) != "early" || err != nil {
			t.Errorf("%s: %d %q %v", name, resp.StatusCode, body, err)
		}
	}
}

func TestStreamingBothWays(t *testing.T) {
	t.Parallel()
	b := start(t, nil)
	b.connect(0, 0, origin)
	c := b.clients()["h2c"]
	pr, pw := io.Pipe()
	defer func() { _ = pw.Close() }()
	req, _ := http.NewRequestWithContext(t.Context(), http.MethodPost, c.base+"/echo", pr)
	resp, err := c.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	for _, word := range []string{"one", "two", "three"} {
		if _, err := io.WriteString(pw, word); err != nil {
			t.Fatal(err)
		}
		got := make([]byte, len(word))
		if _, err := io.ReadFull(resp.Body, got); err != nil || string(got) != word {
			t.Fatalf("echo of %q: %q, %v", word, got, err)
		}
	}
}

func TestExpectContinue(t *testing.T) {
	t.Parallel()
	b := start(t, nil)
	b.connect(0, 0, origin)
	c := b.tcp()
	defer func() { _ = c.Close() }()
	if _, err := io.WriteString(c, "POST /sink HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	r := bufio.NewReader(c)
	line, err := r.ReadString('\n')
	if err != nil || !strings.HasPrefix(line, "HTTP/1.1 100") {
		t.Fatalf("first line %q, %v", line, err)
	}
	if _, err := r.ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(c, "hello"); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(r, nil)
	if err != nil {
		t.Fatal(err)
	}
	body, _ := io.ReadAll(resp.Body)
	_ = resp.Body.Close()
	if string(body) != "5" {
		t.Errorf("the origin got %q bytes", body)
	}
}

func TestVisitorHangsUp(t *testing.T) {
	t.Parallel()
	b := start(t, nil)
	type seen struct{ read, write error }
	got, began := make(chan seen, 1), make(chan struct{}, 1)
	b.connect(0, 0, func(_ *peer, req *stream.Request, body io.Reader, st transport.Stream) {
		began <- struct{}{}
		if strings.Contains(req.Dest, "/stream") {
			respond(st, "200")
			_, _ = st.Write([]byte("x"))
		}
		_, rerr := io.Copy(io.Discard, body)
		<-st.Context().Done() // STOP_SENDING
		got <- seen{rerr, context.Cause(st.Context())}
		end(st)
	})
	for name, c := range b.clients() {
		for _, k := range []struct{ method, path string }{{"GET", "/hang"}, {"GET", "/stream"}, {"POST", "/hang"}, {"POST", "/stream"}} {
			ctx, cancel := context.WithCancel(t.Context())
			var body io.Reader
			var pw *io.PipeWriter
			if k.method == "POST" {
				body, pw = io.Pipe()
				go func() { _, _ = pw.Write([]byte("abc")) }()
			}
			req, _ := http.NewRequestWithContext(ctx, k.method, c.base+k.path, body)
			done := make(chan struct{})
			go func() {
				defer close(done)
				resp, err := c.client.Do(req)
				if err == nil {
					_, _ = io.ReadAll(resp.Body)
					_ = resp.Body.Close()
				}
			}()
			<-began
			cancel()
			if pw != nil {
				_ = pw.CloseWithError(context.Canceled) // the client waits for its own body
			}
			<-done
			s := testkit.Receive(t, fmt.Sprintf("%s %s %s: the end at the connector", name, k.method, k.path), got)
			if k.method == "POST" && s.read == nil {
				t.Errorf("%s %s %s: the broken body ended cleanly", name, k.method, k.path)
			}
			testkit.Eventually(t, "nothing is in flight", func() bool { return b.inFlight() == 0 })
		}
	}
}

func (b *bench) inFlight() (n int64) {
	list, err := b.admin.ListConnections(b.t.Context())
	if err != nil {
		b.t.Fatal(err)
	}
	for _, c := range list {
		n += c.InFlight
	}
	return n
}

func TestSlowReader(t *testing.T) {
	t.Parallel()
	b := start(t, nil)
	b.connect(0, 0, origin)
	const n = 8 << 20
	resp, err := b.client.Get(b.PublicURL() + "/bytes?n=" + strconv.Itoa(n))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	for range 20 { // others are not held up
		if r, body := b.get("/bytes?n=1000"); r.StatusCode != 200 || len(body) != 1000 {
			t.Fatalf("request while another visitor reads slowly: %d, %d bytes", r.StatusCode, len(body))
		}
	}
	var got bytes.Buffer
	for {
		m, err := io.CopyN(&got, resp.Body, 777_777)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatalf("after %d bytes: %v", got.Len()+int(m), err)
		}
		b.get("/bytes?n=10")
	}
	if !bytes.Equal(got.Bytes(), pattern(n)) {
		t.Errorf("%d bytes, want %d equal ones", got.Len(), n)
	}
}

func TestVisitorWhoNeverReads(t *testing.T) {
	t.Parallel()
	b := start(t, func(c *edge.Config) { c.Public.BodyIdleTimeout = 300 * time.Millisecond })
	b.connect(0, 0, origin)
	c := b.tcp()
	defer func() { _ = c.Close() }()
	_ = c.SetReadBuffer(4 << 10)
	if _, err := io.WriteString(c, "GET /bytes?n=33554432 HTTP/1.1\r\nHost: a\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, "the request is in flight", func() bool { return b.inFlight() == 1 })
	testkit.Eventually(t, "the edge gave up", func() bool { return b.inFlight() == 0 })
}

func TestVisitorWhoNeverSends(t *testing.T) {
	t.Parallel()
	b := start(t, func(c *edge.Config) {
		c.Public.BodyIdleTimeout = 300 * time.Millisecond
		c.Public.ReadHeaderTimeout = 300 * time.Millisecond
	})
	b.connect(0, 0, origin)
	for _, text := range []string{"GET / HT", "POST /sink HTTP/1.1\r\nHost: a\r\nContent-Length: 50\r\n\r\nabc"} {
		c := b.tcp()
		if _, err := io.WriteString(c, text); err != nil {
			t.Fatal(err)
		}
		if body, err := io.ReadAll(c); errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%q: the connection stays, %q", text, body)
		}
		_ = c.Close()
	}
}

// Messages pass in both directions without delay, also when the response begins before the body, and the visitor's cancellation
// reaches the connector.
func TestMessagesBothWays(t *testing.T) {
	t.Parallel()
	b := start(t, func(c *edge.Config) { c.Public.BodyIdleTimeout = 400 * time.Millisecond })
	cancelled := make(chan error, 2)
	b.connect(0, 0, func(_ *peer, req *stream.Request, body io.Reader, st transport.Stream) {
		if fmt.Sprint(header(req, "Te")) != "[trailers]" {
			t.Errorf("Te: %v", header(req, "Te"))
		}
		respondLaidOut(st, stream.BodyFrames, "200", "Content-Type", "application/grpc")
		buf := make([]byte, 100)
		for {
			n, err := body.Read(buf)
			if n > 0 {
				_, _ = st.Write(frame(string(buf[:n])))
			}
			switch {
			case err == io.EOF:
				_, _ = st.Write(trailers("Grpc-Status", "0"))
				end(st)
				return
			case err != nil:
				<-st.Context().Done()
				cancelled <- err
				return
			}
		}
	}, streams1)
	var calls sync.WaitGroup
	for _, name := range []string{"h2c", "h2"} {
		c := b.clients()[name]
		for _, leave := range []bool{false, true} {
			calls.Go(func() { messagesBothWays(t, name, c, leave, cancelled) })
		}
	}
	calls.Wait()
	testkit.Eventually(t, "nothing is in flight", func() bool { return b.inFlight() == 0 })
}

// messagesBothWays makes one call. With leave the visitor cancels it, otherwise the visitor ends its body.
func messagesBothWays(t *testing.T, name string, c way, leave bool, cancelled <-chan error) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	pr, pw := io.Pipe()
	defer func() { _ = pw.Close() }()
	req, _ := http.NewRequestWithContext(ctx, http.MethodPost, c.base+"/x.Y/Z", pr)
	req.Header.Set("Te", "trailers")
	resp, err := c.client.Do(req)
	if err != nil {
		t.Errorf("%s: %v", name, err)
		return
	}
	defer func() { _ = resp.Body.Close() }()
	pause := time.NewTimer(900 * time.Millisecond) // longer than the idle timeout of a body that is not part of a duplex exchange
	<-pause.C
	for _, word := range []string{"one", "two"} {
		_, _ = io.WriteString(pw, word)
		got := make([]byte, 3)
		if _, err := io.ReadFull(resp.Body, got); err != nil || string(got) != word {
			t.Errorf("%s: %q, %v", name, got, err)
			return
		}
	}
	if leave {
		cancel()
		_ = pw.CloseWithError(context.Canceled) // the client waits for its own body
		if err := <-cancelled; !errors.Is(err, transport.ErrReset) {
			t.Errorf("%s: the cancel arrives as %v", name, err)
		}
		return
	}
	_ = pw.Close()
	rest, err := io.ReadAll(resp.Body)
	if err != nil || len(rest) != 0 || resp.Trailer.Get("Grpc-Status") != "0" {
		t.Errorf("%s: end %q, %v, %v", name, rest, err, resp.Trailer)
	}
}

// Parts of a response arrive without delay, whatever the content type.
func TestEventsWithoutDelay(t *testing.T) {
	t.Parallel()
	b := start(t, nil)
	next := make(chan string)
	b.connect(0, 0, func(_ *peer, _ *stream.Request, _ io.Reader, st transport.Stream) {
		respond(st, "200", "Content-Type", "application/x-whatever")
		for word := range next {
			if word == "" {
				break
			}
			_, _ = st.Write([]byte(word))
		}
		end(st)
	})
	for name, c := range b.clients() {
		resp, err := c.client.Get(c.base + "/") // the head comes before the first event
		if err != nil {
			t.Fatal(err)
		}
		for _, word := range []string{"data: 1\n\n", "x"} {
			next <- word
			got := make([]byte, len(word))
			if _, err := io.ReadFull(resp.Body, got); err != nil || string(got) != word {
				t.Errorf("%s: %q, %v", name, got, err)
			}
		}
		next <- ""
		_ = resp.Body.Close()
	}
}
