package h1codec_test

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"maps"
	"net/http"
	"net/http/httputil"
	"net/textproto"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/culvert-tunnel/culvert/pkg/wire/httpfield"
	"github.com/culvert-tunnel/culvert/services/proxy/internal/h1/h1codec"
)

const (
	maxBytes = 64 << 10
	maxLines = 512
)

var heads = []string{
	"HTTP/1.1 200 OK\r\n\r\n",
	"HTTP/1.1 200 OK\r\nContent-Length: 5\r\ncontent-length: 5\r\n\r\nhello",
	"HTTP/1.0 404 Not Found\nServer: x\n\n",
	"HTTP/1.1 204 No Content\r\nConnection: close, X-Hop\r\nX-Hop: 1\r\n\r\n",
	"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: x-a, B\r\n\r\n",
	"HTTP/1.1 200 OK\r\nA: b\r\n  folded\r\nPragma: no-cache\r\n\r\n",
	"HTTP/1.1 200 OK\r\nContent-Length : 5\r\n\r\n",
	"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\nContent-Length: 1\r\n\r\n",
	"HTTP/2.0 304\r\n\r\n", "220 mail.example.com ESMTP\r\n", "HTTP/1.1 0200 OK\r\n\r\n", "HTTP/1.1 200 OK\r\n: x\r\n\r\n",
}

// scan gives the text of the head at the start of raw, whose bytes come in pieces; "" if there is none.
func scan(t *testing.T, raw string, piece int) (text string, lines int, err error) {
	t.Helper()
	s := h1codec.Scanner{MaxBytes: maxBytes, MaxLines: maxLines}
	for have := 0; ; {
		size, err := s.Scan([]byte(raw[:have]))
		switch {
		case size < 0 || size > have:
			t.Fatalf("size %d of %d bytes", size, have)
		case err != nil || size > 0:
			return raw[:size], s.Fields(), err
		case have == len(raw):
			return "", 0, nil
		}
		have = min(have+piece, len(raw))
	}
}

// FuzzHead checks that net/http accepts each head that is accepted here, and reads the same fields and framing from it.
func FuzzHead(f *testing.F) {
	for _, raw := range heads {
		f.Add(raw, uint8(1), false)
		f.Add(raw, uint8(255), true)
	}
	f.Fuzz(func(t *testing.T, raw string, piece uint8, isHead bool) {
		method := http.MethodGet
		if isHead {
			method = http.MethodHead
		}
		text, lines, err := scan(t, raw, int(piece)+1)
		whole, wholeLines, wholeErr := scan(t, raw, len(raw)+1)
		if text != whole || lines != wholeLines || (err == nil) != (wholeErr == nil) {
			t.Fatalf("in pieces %q, %d, %v; at once %q, %d, %v", text, lines, err, whole, wholeLines, wholeErr)
		}
		if err != nil || text == "" {
			return
		}
		h, err := h1codec.ParseHead(text, lines, httpfield.DefaultLimits())
		if err != nil {
			return
		}
		connection := h.Header["Connection"]
		body, err := h1codec.Settle(method, &h)
		if err != nil {
			return
		}
		h1codec.FixPragma(h.Header)
		want, err := http.ReadResponse(bufio.NewReaderSize(strings.NewReader(text), maxBytes), &http.Request{Method: method})
		if err != nil {
			t.Fatalf("accepted, but net/http: %v", err)
		}
		_ = want.Body.Close() // over a string
		if h.Code != want.StatusCode || h.Status != want.Status || h.Proto != want.Proto || body.Length != want.ContentLength {
			t.Errorf("%s %q, length %d; net/http: %s %q, %d", h.Proto, h.Status, body.Length, want.Proto, want.Status, want.ContentLength)
		}
		maps.DeleteFunc(want.Header, func(name string, _ []string) bool { // net/http keeps what Connection names beside "close"
			_, kept := h.Header[name]
			return !kept && httpfield.IsNamed(connection, name)
		})
		if diff := cmp.Diff(want.Header, http.Header(h.Header)); diff != "" {
			t.Errorf("header differs (-net/http +h1codec):\n%s", diff)
		}
		if diff := cmp.Diff(want.Trailer, http.Header(body.Trailer)); diff != "" {
			t.Errorf("trailer differs (-net/http +h1codec):\n%s", diff)
		}
	})
}

// FuzzFields checks that net/textproto reads the same fields from each section that is accepted here.
func FuzzFields(f *testing.F) {
	for _, text := range []string{
		"A: b\r\n\r\n", "a: 1\na: 2\nB:\n\n", "x: y\r\n\tz\r\n\r\n", "0:0\n ", " :", "0\n :", "a b: c\r\n\r\n", "\r\n", "A: b\r\n", ": c\r\n\r\n",
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		fields, err := h1codec.ParseFields(text, strings.Count(text, "\n"), httpfield.DefaultLimits())
		if err != nil {
			return
		}
		want, err := textproto.NewReader(bufio.NewReader(strings.NewReader(text + "\r\n\r\n"))).ReadMIMEHeader()
		if err != nil {
			t.Fatalf("accepted, but net/textproto: %v", err)
		}
		if diff := cmp.Diff(map[string][]string(want), fields); diff != "" {
			t.Errorf("fields differ (-net/textproto +h1codec):\n%s", diff)
		}
	})
}

// dechunk decodes a body of which piece bytes come at a time.
func dechunk(t *testing.T, raw []byte, piece int) (data, rest []byte, trailer h1codec.Header, err error) {
	t.Helper()
	d := h1codec.Dechunker{Limits: httpfield.DefaultLimits()}
	have := 0
	for {
		if n := int(min(d.Data(), int64(have))); n > 0 {
			data, raw, have = append(data, raw[:n]...), raw[n:], have-n
			d.Took(n)
			continue
		}
		size, err := 0, error(nil)
		if d.Data() == 0 {
			size, err = d.Step(raw[:have])
		}
		if size < 0 || size > have {
			t.Fatalf("size %d of %d bytes", size, have)
		}
		raw, have = raw[size:], have-size
		switch {
		case errors.Is(err, io.EOF):
			return data, raw, d.Trailer, nil
		case err != nil:
			return data, raw, nil, err
		case size > 0:
		case have == len(raw):
			return data, raw, nil, io.ErrUnexpectedEOF
		default:
			have = min(have+piece, len(raw))
		}
	}
}

// FuzzDechunker checks that a chunked body means the same however its bytes arrive, and the same as to net/http.
func FuzzDechunker(f *testing.F) {
	for _, raw := range []string{
		"0\r\n\r\n", "5\r\nhello\r\nA;x=y\r\n, world!!!\r\n0\r\nX-A: 1\r\n\r\nnext", "5\nhello\r\n0\r\n\r\n", "5\r\nhello0\r\n\r\n",
		"11111111111111111\r\n", "-1\r\n", "\r\n", "2\r\nok\r\n0\r\nbad\r\n\r\n", "1;" + strings.Repeat("x", 5000) + "\r\nz\r\n0\r\n\r\n",
	} {
		f.Add([]byte(raw), uint8(0))
	}
	f.Fuzz(func(t *testing.T, raw []byte, piece uint8) {
		if len(raw) > 16<<10 {
			return // nothing in the structure is longer
		}
		data, rest, trailer, err := dechunk(t, raw, int(piece)+1)
		all, allRest, allTrailer, allErr := dechunk(t, raw, len(raw)+1)
		if !bytes.Equal(data, all) || (err == nil) != (allErr == nil) || !maps.EqualFunc(trailer, allTrailer, equal) {
			t.Fatalf("in pieces %q, %v, %v; at once %q, %v, %v", data, trailer, err, all, allTrailer, allErr)
		}
		if err != nil {
			return
		}
		if !bytes.Equal(rest, allRest) {
			t.Fatalf("rest in pieces %q, at once %q", rest, allRest)
		}
		want, err := io.ReadAll(httputil.NewChunkedReader(bytes.NewReader(raw)))
		if err != nil {
			t.Fatalf("accepted, but net/http: %v", err)
		}
		if !bytes.Equal(data, want) {
			t.Errorf("data %q; net/http: %q", data, want)
		}
	})
}

func equal(a, b []string) bool { return strings.Join(a, "\n") == strings.Join(b, "\n") }
