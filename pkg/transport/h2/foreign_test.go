package h2_test

import (
	"bytes"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/culvert-tunnel/culvert/pkg/transport/h2"
	"github.com/culvert-tunnel/culvert/pkg/wire/h2head"
	"github.com/culvert-tunnel/culvert/pkg/wire/stream"
)

// block encodes a head.
func block(pairs ...string) []byte {
	var b bytes.Buffer
	enc := hpack.NewEncoder(&b)
	for i := 0; i < len(pairs); i += 2 {
		_ = enc.WriteField(hpack.HeaderField{Name: pairs[i], Value: pairs[i+1]})
	}
	return b.Bytes()
}

func controlBlock() []byte {
	return block(":method", "GET", ":scheme", "http", ":authority", "x", ":path", "/", h2head.Upgrade, h2head.UpgradeControl)
}

// foreignEdge is an edge with another implementation of the HTTP/2 client, that of golang.org/x/net.
func foreignEdge(t *testing.T) (*h2.Session, *http2.ClientConn) { //nolint:staticcheck // net/http has no client for an existing connection
	t.Helper()
	cert, pool := certificate(t, h2.ServerName)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	accepted := make(chan *tls.Conn, 1)
	go func() {
		if c, err := ln.Accept(); err == nil {
			accepted <- tls.Server(c, &tls.Config{Certificates: []tls.Certificate{cert}})
		}
	}()
	dialled := make(chan *h2.Session, 1)
	go func() {
		s, _ := h2.Dial(t.Context(), h2.DialConfig{
			Edge: ln.Addr().(*net.TCPAddr).AddrPort(), TLS: h2.ClientTLS(pool, false), Settings: h2.ConnectorSettings(),
		})
		dialled <- s
	}()
	conn := <-accepted
	if err := conn.Handshake(); err != nil {
		t.Fatal(err)
	}
	s := <-dialled
	if s == nil {
		t.Fatal("dial failed")
	}
	tr := &http2.Transport{DisableCompression: true} //nolint:staticcheck // as above
	cc, err := tr.NewClientConn(conn)                //nolint:staticcheck // as above
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = s.CloseWithError(0, "")
		_ = cc.Close()
	})
	return s, cc
}

// TestForeignEdge tests the connector's end against another implementation.
func TestForeignEdge(t *testing.T) {
	s, cc := foreignEdge(t)
	serve := func(handle func(req stream.Request, rest []byte, st io.ReadWriter) []byte) {
		go func() {
			st, err := s.AcceptStream(t.Context())
			if err != nil {
				return
			}
			req, rest, err := readRequest(st)
			if err != nil {
				t.Error(err)
				return
			}
			_, _ = st.Write(handle(req, rest, st))
			_ = st.CloseWrite()
		}()
	}
	encode := func(resp stream.Response, body string) []byte {
		b, err := resp.Append(nil)
		if err != nil {
			t.Error(err)
		}
		return append(b, body...)
	}
	pair := func(k, v string) stream.Pair { return stream.Pair{Key: k, Val: v} }
	do := func(method, url, body string, headers ...string) (*http.Response, string) {
		t.Helper()
		var rd io.Reader
		if body != "" {
			rd = io.MultiReader(strings.NewReader(body)) // of unknown length
		}
		req, err := http.NewRequestWithContext(t.Context(), method, url, rd)
		if err != nil {
			t.Fatal(err)
		}
		for i := 0; i < len(headers); i += 2 {
			req.Header.Set(headers[i], headers[i+1])
		}
		resp, err := cc.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Error(err)
		}
		return resp, string(b)
	}

	serve(func(req stream.Request, rest []byte, st io.ReadWriter) []byte {
		more, err := io.ReadAll(st)
		te, _ := stream.Lookup(req.Metadata, stream.HeaderPrefix+"Transfer-Encoding")
		if got := string(rest) + string(more); err != nil || got != "question" || te != "chunked" || req.Dest != "http://app.example/p?q" {
			t.Errorf("request %+v: body %q, %v", req, got, err)
		}
		body := string(stream.AppendDataHeader(nil, 5)) + "hello"
		b, _ := stream.AppendTrailers([]byte(body), []stream.Pair{pair("Grpc-Status", "0")})
		return encode(
			stream.Response{
				Metadata: []stream.Pair{pair("HttpStatus", "201"), pair("HttpHeader:X-A", "1"), pair(stream.KeyBody, stream.BodyFrames)},
			},
			string(b),
		)
	})
	resp, body := do(http.MethodPost, "http://app.example/p?q", "question", "Cookie", "a=1")
	if resp.StatusCode != 201 || body != "hello" || resp.Trailer.Get("Grpc-Status") != "0" ||
		resp.Header.Get(h2head.Meta) != h2head.MetaOrigin || resp.Header.Get(h2head.Block) != "WC1B:MQ" {
		t.Errorf("response %d %q, header %v, trailer %v", resp.StatusCode, body, resp.Header, resp.Trailer)
	}

	serve(func(stream.Request, []byte, io.ReadWriter) []byte {
		return encode(stream.Response{Error: "dial tcp 10.0.0.1", Metadata: []stream.Pair{pair("HttpStatus", "504")}}, "")
	})
	resp, body = do(http.MethodGet, "http://app.example/", "")
	if resp.StatusCode != 502 || body != "" || resp.Header.Get(h2head.Meta) != h2head.MetaConnector || resp.Header.Get("culvert-error") != "" {
		t.Errorf("failure: %d %q %v", resp.StatusCode, body, resp.Header)
	}

	serve(func(req stream.Request, _ []byte, _ io.ReadWriter) []byte {
		if req.Type != stream.TCP || req.Dest != "192.0.2.1:22" {
			t.Errorf("tcp request %+v", req)
		}
		return encode(stream.Response{}, "banner")
	})
	resp, body = do(http.MethodGet, "http://192.0.2.1:22/", "", h2head.Source, "x", "Sec-Websocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")
	if resp.StatusCode != 200 || body != "banner" || !strings.Contains(resp.Header.Get(h2head.Block), "U2VjLVdlYnNvY2tldC1BY2NlcHQ") {
		t.Errorf("tcp: %d %q %v", resp.StatusCode, body, resp.Header)
	}

	resp, body = do(http.MethodPut, "http://x/", "{", h2head.Upgrade, h2head.UpgradeConfiguration)
	if resp.StatusCode != 502 || resp.Header.Get(h2head.Meta) != h2head.MetaConnector {
		t.Errorf("malformed configuration: %d %q %v", resp.StatusCode, body, resp.Header)
	}
}

// TestTrailersAndInterim tests the extensions that only two ends of Culvert carry.
func TestTrailersAndInterim(t *testing.T) {
	connector, edge := sessions(t, nil)
	control(t, connector, edge)
	req := stream.Request{Dest: "https://app.example/upload", Metadata: []stream.Pair{
		{Key: stream.KeyMethod, Val: "PUT"},
		{Key: stream.KeyHost, Val: "app.example"},
		{Key: "HttpHeader:Trailer", Val: "X-Sum"},
		{Key: "HttpHeader:Transfer-Encoding", Val: "chunked"},
		{Key: stream.KeyBody, Val: stream.BodyFrames},
		{Key: stream.KeyAccept, Val: "frames,interim"},
	}}
	body, err := stream.AppendTrailers([]byte(string(stream.AppendDataHeader(nil, 4))+"data"), []stream.Pair{{Key: "X-Sum", Val: "42"}})
	if err != nil {
		t.Fatal(err)
	}
	near, far, got, rest := exchange(t, connector, edge, req, string(body))
	if err := far.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	more, err := io.ReadAll(near)
	if err != nil {
		t.Fatal(err)
	}
	var d stream.Deframer
	framed := append(rest, more...)
	n, err := d.Strip(framed)
	if err != nil || string(framed[:n]) != "data" || len(d.Trailers()) != 1 || d.Trailers()[0] != (stream.Pair{Key: "X-Sum", Val: "42"}) {
		t.Errorf("request body %q, %v, %v", framed[:n], d.Trailers(), err)
	}
	for key, want := range map[string]string{
		stream.KeyAccept: "frames,interim", stream.KeyBody: "frames", "HttpHeader:Trailer": "X-Sum", "HttpHeader:Transfer-Encoding": "chunked",
		"HttpMethod": "PUT", "HttpHost": "app.example",
	} {
		if v, _ := stream.Lookup(got.Metadata, key); v != want {
			t.Errorf("%s = %q, want %q", key, v, want)
		}
	}
	send(t, near, &stream.Response{Metadata: []stream.Pair{{Key: "HttpStatus", Val: "103"}, {Key: "HttpHeader:Link", Val: "</a>"}}}, "")
	resp, rest, err := readResponse(far)
	if link, _ := stream.Lookup(
		resp.Metadata,
		"HttpHeader:Link",
	); err != nil || len(rest) > 0 || resp.Metadata[0].Val != "103" ||
		link != "</a>" {
		t.Errorf("interim response %+v, %v", resp, err)
	}
	send(
		t,
		near,
		&stream.Response{Metadata: []stream.Pair{{Key: "HttpStatus", Val: "200"}, {Key: stream.KeyBody, Val: stream.BodyFrames}}},
		string(body),
	)
	if err := near.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	resp, rest, err = readResponse(far)
	if kind, _ := stream.Lookup(resp.Metadata, stream.KeyBody); err != nil || kind != stream.BodyFrames {
		t.Fatalf("response %+v, %v", resp, err)
	}
	more, err = io.ReadAll(io.MultiReader(bytes.NewReader(rest), oneByte{far})) // frames survive the smallest reads
	d = stream.Deframer{}
	n, serr := d.Strip(more)
	if err != nil || serr != nil || string(more[:n]) != "data" || len(d.Trailers()) != 1 {
		t.Errorf("body of the response %q, %v, %v, %v", more[:n], d.Trailers(), err, serr)
	}

	// Trailers only: the response announces that it has no body.
	near, far, _, _ = exchange(
		t,
		connector,
		edge,
		stream.Request{Dest: "http://a/", Metadata: []stream.Pair{{Key: stream.KeyAccept, Val: "frames"}}},
		"",
	)
	send(
		t,
		near,
		&stream.Response{
			Metadata: []stream.Pair{
				{Key: "HttpStatus", Val: "200"},
				{Key: "HttpHeader:Grpc-Status", Val: "7"},
				{Key: stream.KeyBody, Val: stream.BodyNone},
			},
		},
		"",
	)
	resp, _, err = readResponse(far)
	if kind, _ := stream.Lookup(resp.Metadata, stream.KeyBody); err != nil || kind != stream.BodyNone {
		t.Errorf("response without a body %+v, %v", resp, err)
	}
	if n, err := far.Read(make([]byte, 1)); n != 0 || err != io.EOF { //nolint:errorlint // the bare value is the contract of io.Reader
		t.Errorf("read = %d, %v", n, err)
	}
	_ = near.CloseWrite()
}

type oneByte struct{ r io.Reader }

func (o oneByte) Read(p []byte) (int, error) { return o.r.Read(p[:min(1, len(p))]) }
