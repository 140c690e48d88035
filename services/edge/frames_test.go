package edge_test

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"strings"
	"testing"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/culvert-tunnel/culvert/pkg/testkit"
	"github.com/culvert-tunnel/culvert/pkg/transport"
	"github.com/culvert-tunnel/culvert/pkg/wire/stream"
)

// body is the encoding of a response's body on the stream.
func respondLaidOut(st transport.Stream, layout, status string, fields ...string) {
	resp := stream.Response{Metadata: []stream.Pair{{Key: stream.KeyStatus, Val: status}, {Key: stream.KeyBody, Val: layout}}}
	for i := 0; i < len(fields); i += 2 {
		resp.Metadata = append(resp.Metadata, stream.Pair{Key: stream.HeaderPrefix + fields[i], Val: fields[i+1]})
	}
	send(st, &resp)
}

func frame(data string) []byte { return append(stream.AppendDataHeader(nil, len(data)), data...) }

func trailers(kv ...string) []byte {
	var pairs []stream.Pair
	for i := 0; i < len(kv); i += 2 {
		pairs = append(pairs, stream.Pair{Key: kv[i], Val: kv[i+1]})
	}
	b, err := stream.AppendTrailers(nil, pairs)
	if err != nil {
		panic(err) // a test's own trailers
	}
	return b
}

func accepts(req *stream.Request) string {
	val, _ := stream.Lookup(req.Metadata, stream.KeyAccept)
	return val
}

func TestResponseTrailers(t *testing.T) {
	t.Parallel()
	b := start(t, nil)
	b.connect(0, 0, func(_ *peer, req *stream.Request, _ io.Reader, st transport.Stream) {
		if !stream.Accepts(accepts(req), stream.AcceptFrames) {
			t.Errorf("accept %q", accepts(req))
		}
		respondLaidOut(st, stream.BodyFrames, "200", "Trailer", "X-Announced, Content-Length", "X-Announced", "head")
		_, _ = st.Write(frame("hello "))
		_, _ = st.Write(frame(""))
		_, _ = st.Write(frame("world"))
		_, _ = st.Write(trailers("X-Announced", "1", "x-other", "2", "X-Other", "3", "Content-Length", "7", "Cf-Int-X", "x", "Bad Name", "x",
			"X-Bad", "a\nb"))
		end(st)
	}, streams1)
	for name, c := range b.clients() {
		resp, err := c.client.Get(c.base + "/")
		if err != nil {
			t.Fatal(err)
		}
		if _, ok := resp.Trailer["X-Announced"]; !ok || len(resp.Trailer) != 1 {
			t.Errorf("%s: announced trailers %v", name, resp.Trailer)
		}
		body, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if err != nil || string(body) != "hello world" || resp.Header.Get("X-Announced") != "head" {
			t.Errorf("%s: %q, %v, %v", name, body, err, resp.Header)
		}
		if got := fmt.Sprint(resp.Trailer); got != "map[X-Announced:[1] X-Other:[2 3]]" {
			t.Errorf("%s: trailers %s", name, got)
		}
	}
}

func TestBadFramesNeverLookWhole(t *testing.T) {
	t.Parallel()
	b := start(t, nil)
	for name, bad := range map[string][]byte{
		"type":           {7, 0, 0, 0},
		"cut":            frame("hello")[:6],
		"after trailers": append(trailers("A", "b"), frame("x")...),
	} {
		p := b.connect(0, 0, func(_ *peer, _ *stream.Request, body io.Reader, st transport.Stream) {
			respondLaidOut(st, stream.BodyFrames, "200")
			_, _ = st.Write(frame("hello"))
			_, _ = st.Write(bad)
			end(st)
		}, streams1)
		for way, c := range b.clients() {
			resp, err := c.client.Get(c.base + "/")
			if err != nil {
				continue // it broke off before the head was out
			}
			if body, err := io.ReadAll(resp.Body); err == nil {
				t.Errorf("%s, %s: %q and a clean end", name, way, body)
			}
			_ = resp.Body.Close()
		}
		p.close()
		testkit.Eventually(t, "the connector is gone", func() bool { return b.connections("active") == 0 })
	}
	b.connect(0, 0, func(_ *peer, _ *stream.Request, body io.Reader, st transport.Stream) {
		respondLaidOut(st, "sparkles", "200")
		end(st)
	}, streams1)
	if resp, _ := b.get("/"); resp.Header.Get("Culvert-Error") != "connector_error" {
		t.Errorf("an unknown layout: %d %v", resp.StatusCode, resp.Header)
	}
}

// A stock connector does not support frames: its requests offer none, and a response with frames is an error.
func TestNoExtensionForOthers(t *testing.T) {
	t.Parallel()
	b := start(t, nil)
	b.connect(0, 0, func(_ *peer, req *stream.Request, body io.Reader, st transport.Stream) {
		for _, p := range req.Metadata {
			if strings.HasPrefix(p.Key, "Culvert") || strings.HasSuffix(p.Key, ":Expect") || strings.HasSuffix(p.Key, ":Trailer") {
				t.Errorf("metadata %+v", p)
			}
		}
		got, err := io.ReadAll(body)
		if string(got) != "abc" || err != nil {
			t.Errorf("body %q, %v", got, err)
		}
		respondLaidOut(st, stream.BodyFrames, "200")
		end(st)
	})
	const withTrailers = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n3\r\nabc\r\n0\r\nX-Sum: 1\r\n\r\n"
	if resp, _ := b.raw(withTrailers); resp.Header.Get("Culvert-Error") != "connector_error" {
		t.Errorf("a response with frames that were not requested: %d %v", resp.StatusCode, resp.Header)
	}
}

func TestRequestTrailers(t *testing.T) {
	t.Parallel()
	b := start(t, nil)
	b.connect(0, 0, func(_ *peer, req *stream.Request, body io.Reader, st transport.Stream) {
		layout, _ := stream.Lookup(req.Metadata, stream.KeyBody)
		raw, err := io.ReadAll(body)
		var d stream.Deframer
		n, derr := d.Strip(raw)
		respond(st, "200")
		_, _ = fmt.Fprintf(struct{ io.Writer }{st}, "%s %v %v %v %q %v %v %v", layout, header(req, "Transfer-Encoding"),
			header(req, "Content-Length"),
			header(req, "Trailer"), raw[:n], errors.Join(err, derr, d.End()), d.Trailers(), d.Ended())
		end(st)
	}, streams1)
	for name, c := range b.clients() {
		for _, length := range []int64{-1, 11} {
			req, _ := http.NewRequest(http.MethodPost, c.base+"/", io.NopCloser(strings.NewReader("hello world")))
			req.ContentLength = length
			req.Trailer = http.Header{"X-Sum": nil, "Cf-Ray": nil}
			if length > 0 && name == "http1" {
				continue // has no trailers
			}
			req.Body = &atEnd{Reader: strings.NewReader("hello world"), do: func() {
				req.Trailer.Set("X-Sum", "42")
				req.Trailer.Set("Cf-Ray", "fake")
			}}
			resp, err := c.client.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			got, _ := io.ReadAll(resp.Body)
			_ = resp.Body.Close()
			if want := `frames [chunked] [] [X-Sum] "hello world" <nil> [{X-Sum 42}] true`; string(got) != want {
				t.Errorf("%s, length %d: %s\nwant %s", name, length, got, want)
			}
		}
	}
}

// atEnd is a reader that calls a function before it returns io.EOF.
type atEnd struct {
	io.Reader
	do func()
}

func (r *atEnd) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p)
	if err == io.EOF {
		r.do()
	}
	return n, err
}

func (*atEnd) Close() error { return nil }

// Over HTTP/2 a response without a body ends with its head, which gRPC calls trailers-only.
func TestTrailersOnly(t *testing.T) {
	t.Parallel()
	b := start(t, nil)
	b.connect(0, 0, func(_ *peer, _ *stream.Request, _ io.Reader, st transport.Stream) {
		respondLaidOut(st, stream.BodyNone, "200", "Content-Type", "application/grpc", "Grpc-Status", "5")
		end(st)
	}, streams1)
	resp, body := b.get("/")
	if resp.StatusCode != 200 || len(body) != 0 || resp.Header.Get("Grpc-Status") != "5" {
		t.Errorf("over HTTP/1.1: %d %q %v", resp.StatusCode, body, resp.Header)
	}
	f := b.framer()
	f.request(1, http2.HeadersFrameParam{EndStream: true}, ":method", "POST", ":path", "/", ":scheme", "http", ":authority", "a")
	for {
		fr, err := f.ReadFrame()
		if err != nil {
			t.Fatal(err)
		}
		if h, ok := fr.(*http2.HeadersFrame); ok {
			if !h.StreamEnded() {
				t.Error("the head does not end the stream")
			}
			return
		}
	}
}

// framer is one HTTP/2 connection of a visitor, on which the test writes frames.
type framer struct {
	*http2.Framer
	t    *testing.T
	conn io.Closer
	buf  bytes.Buffer
	enc  *hpack.Encoder
}

func (b *bench) framer() *framer {
	b.t.Helper()
	c := b.tcp()
	b.t.Cleanup(func() { _ = c.Close() })
	if _, err := io.WriteString(c, http2.ClientPreface); err != nil {
		b.t.Fatal(err)
	}
	f := &framer{Framer: http2.NewFramer(c, c), t: b.t, conn: c}
	f.enc = hpack.NewEncoder(&f.buf)
	if err := f.WriteSettings(); err != nil {
		b.t.Fatal(err)
	}
	return f
}

func (f *framer) block(kv ...string) []byte {
	f.buf.Reset()
	for i := 0; i < len(kv); i += 2 {
		_ = f.enc.WriteField(hpack.HeaderField{Name: kv[i], Value: kv[i+1]})
	}
	return bytes.Clone(f.buf.Bytes())
}

func (f *framer) request(id uint32, p http2.HeadersFrameParam, kv ...string) {
	f.t.Helper()
	p.StreamID, p.BlockFragment, p.EndHeaders = id, f.block(kv...), true
	if err := f.WriteHeaders(p); err != nil {
		f.t.Fatal(err)
	}
}

func TestInterimResponses(t *testing.T) {
	t.Parallel()
	b := start(t, nil)
	b.connect(0, 0, func(_ *peer, req *stream.Request, _ io.Reader, st transport.Stream) {
		if !stream.Accepts(accepts(req), stream.AcceptInterim) {
			respond(st, "200", "X-Interim", "none")
			end(st)
			return
		}
		var all []byte
		for _, status := range []string{"103", "100", "199"} {
			resp := stream.Response{Metadata: []stream.Pair{
				{Key: stream.KeyStatus, Val: status},
				{Key: stream.HeaderPrefix + "Link", Val: "</" + status + ">"},
				{Key: stream.HeaderPrefix + "Connection", Val: "x"},
			}}
			all, _ = resp.Append(all)
		}
		if strings.HasSuffix(req.Dest, "/slow") { // in many pieces
			for i := range all {
				_, _ = st.Write(all[i : i+1])
			}
		} else {
			_, _ = st.Write(all)
		}
		respond(st, "200", "X-Final", "1")
		_, _ = st.Write([]byte("body"))
		end(st)
	}, streams1)
	for name, c := range b.clients() {
		for _, path := range []string{"/", "/slow"} {
			var got []string
			ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{Got1xxResponse: func(code int, h textproto.MIMEHeader) error {
				got = append(got, fmt.Sprint(code, h))
				return nil
			}})
			req, _ := http.NewRequestWithContext(ctx, http.MethodGet, c.base+path, nil)
			resp, err := c.client.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			body, _ := io.ReadAll(resp.Body)
			_ = resp.Body.Close()
			if fmt.Sprint(got) != "[103 map[Link:[</103>]] 199 map[Link:[</199>]]]" || string(body) != "body" || resp.Header.Get("Link") != "" ||
				resp.Header.Get("X-Final") != "1" {
				t.Errorf("%s %s: interim %v, then %d %q %v", name, path, got, resp.StatusCode, body, resp.Header)
			}
		}
	}
	if resp, _ := b.raw("GET / HTTP/1.0\r\nHost: a\r\n\r\n"); resp.Header.Get("X-Interim") != "none" {
		t.Errorf("HTTP/1.0: %v", resp.Header)
	}
}

func TestTooManyInterimResponses(t *testing.T) {
	t.Parallel()
	b := start(t, nil)
	b.connect(0, 0, func(_ *peer, _ *stream.Request, _ io.Reader, st transport.Stream) {
		for range 1000 {
			respond(st, "103")
		}
		end(st)
	}, streams1)
	if resp, _ := b.get("/"); resp.Header.Get("Culvert-Error") != "connector_error" {
		t.Errorf("%d %v", resp.StatusCode, resp.Header)
	}
}

// A connector that supports interim responses decides whether a visitor may send the body of a request.
func TestExpectContinueIsPassedOn(t *testing.T) {
	t.Parallel()
	b := start(t, nil)
	b.connect(0, 0, func(_ *peer, req *stream.Request, body io.Reader, st transport.Stream) {
		if fmt.Sprint(header(req, "Expect")) != "[100-continue]" {
			t.Errorf("Expect: %v", header(req, "Expect"))
		}
		if strings.HasSuffix(req.Dest, "/no") {
			respond(st, "417", "Content-Length", "2")
			_, _ = st.Write([]byte("no"))
			if n, err := body.Read(make([]byte, 1)); n > 0 || err == io.EOF { // a reset, or the end of the test
				t.Errorf("body that the connector did not request: %d bytes, %v", n, err)
			}
			end(st)
			return
		}
		respond(st, "100")
		got, err := io.ReadAll(body)
		respond(st, "200", "Content-Length", "5")
		_, _ = st.Write(got)
		if err != nil {
			t.Errorf("body: %v", err)
		}
		end(st)
	}, streams1)
	for _, path := range []string{"/yes", "/no"} {
		c := b.tcp()
		_, _ = io.WriteString(c, "POST "+path+" HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n")
		r := bufio.NewReader(c)
		resp, err := http.ReadResponse(r, nil)
		if err != nil {
			t.Fatal(err)
		}
		if path == "/yes" {
			if resp.StatusCode != 100 {
				t.Errorf("first response %d", resp.StatusCode)
			}
			_, _ = io.WriteString(c, "hello")
			if resp, err = http.ReadResponse(r, nil); err != nil {
				t.Fatal(err)
			}
		}
		body, _ := io.ReadAll(resp.Body)
		if got := fmt.Sprint(resp.StatusCode, string(body), resp.Close); got != map[string]string{
			"/yes": "200hellofalse",
			"/no":  "417notrue",
		}[path] {
			t.Errorf("%s: %s", path, got)
		}
		if path == "/no" { // the visitor neither sends its body nor hangs up
			if _, err := r.ReadByte(); err != io.EOF {
				t.Errorf("after the response: %v, want the end", err)
			}
		}
		_ = c.Close()
	}
	testkit.Eventually(t, "nothing is in flight", func() bool { return b.inFlight() == 0 })
}
