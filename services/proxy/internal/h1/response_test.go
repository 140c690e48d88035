package h1_test

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/culvert-tunnel/culvert/services/proxy/internal/h1"
)

// corpus is raw responses. Both clients must read each one alike.
var corpus = map[string]string{
	"plain":                  okResponse,
	"empty":                  "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
	"no reason":              "HTTP/1.1 200\r\nContent-Length: 2\r\n\r\nok",
	"blank reason":           "HTTP/1.1 200 \r\nContent-Length: 2\r\n\r\nok",
	"spaces before code":     "HTTP/1.1   200 OK\r\nContent-Length: 2\r\n\r\nok",
	"bare line feeds":        "HTTP/1.1 200 OK\nContent-Length: 2\nA: b\n\nok",
	"lower case":             "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nx-a: 1\r\nx-A: 2\r\netag: x\r\n\r\nok",
	"values":                 "HTTP/1.1 200 OK\r\nA: \t x y \t\r\nB:\r\nC:z\r\nD: \xff\xfe\r\nContent-Length: 2\r\n\r\nok",
	"folded":                 "HTTP/1.1 200 OK\r\nA: one\r\n  two\r\n\tthree\r\nB:\r\n c\r\nContent-Length: 2\r\n\r\nok",
	"folded blank":           "HTTP/1.1 200 OK\r\nA: one\r\n  \r\nContent-Length: 2\r\n\r\nok",
	"folded length":          "HTTP/1.1 200 OK\r\nContent-Length:\r\n 2\r\n\r\nok",
	"space in name":          "HTTP/1.1 200 OK\r\nX Y : z\r\nContent-Length: 2\r\n\r\nok",
	"pragma":                 "HTTP/1.1 200 OK\r\nPragma: no-cache\r\nContent-Length: 2\r\n\r\nok",
	"equal lengths":          "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length:  2\r\n\r\nok",
	"body to the end":        "HTTP/1.1 200 OK\r\n\r\nbody",
	"http 1.0":               "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
	"http 1.0 to the end":    "HTTP/1.0 200 OK\r\n\r\nbody",
	"http 1.0 chunked":       "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
	"connection close":       "HTTP/1.1 200 OK\r\nConnection: x, Close\r\nContent-Length: 2\r\n\r\nok",
	"connection other":       "HTTP/1.1 200 OK\r\nConnection: x\r\nContent-Length: 2\r\n\r\nok",
	"no content":             "HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n",
	"not modified":           "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n",
	"interim":                "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + okResponse,
	"long header":            "HTTP/1.1 200 OK\r\nA: " + strings.Repeat("x", 40<<10) + "\r\nContent-Length: 2\r\n\r\nok",
	"many headers":           "HTTP/1.1 200 OK\r\n" + manyHeaders(200) + "Content-Length: 2\r\n\r\nok",
	"long body":              "HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + strings.Repeat("0123456789", 10000),
	"chunked":                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nA;x=y\r\n, world!!!\r\n0\r\n\r\n",
	"chunked case":           "HTTP/1.1 200 OK\r\ntransfer-encoding: CHUNKED\r\n\r\n0a \r\n0123456789\r\n000\r\n\r\n",
	"chunked empty":          "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
	"chunked long":           "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks(50, 3000) + "0\r\n\r\n",
	"chunked bytes":          "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks(20000, 1) + "0\r\n\r\n",
	"chunked and length":     "HTTP/1.1 200 OK\r\nContent-Length: 99\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
	"chunked no content":     "HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n",
	"trailer":                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: x-a, B\r\n\r\n2\r\nok\r\n0\r\nX-A: 1\r\nC: 2\r\n\r\n",
	"trailer announced":      "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: x\r\n\r\n2\r\nok\r\n0\r\n\r\n",
	"trailer without chunks": "HTTP/1.1 200 OK\r\nTrailer: x\r\nContent-Length: 2\r\n\r\nok",
	"trailer forbidden":      "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: content-length\r\n\r\n0\r\n\r\n",
	"trailer malformed":      "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nbad\r\n\r\n",
	"trailer cut":            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nA: b\r\n",
	"trailer endless": "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nA: " + strings.Repeat("x", 20<<10) +
		"\r\n\r\n",
	"nothing":                 "",
	"head cut":                "HTTP/1.1 200 OK\r\nContent-Le",
	"status cut":              "HTTP/1.1 200",
	"interim only":            "HTTP/1.1 100 Continue\r\n\r\n",
	"interim endless":         strings.Repeat("HTTP/1.1 100 Continue\r\n\r\n", 50000),
	"other protocol":          "SSH-2.0-OpenSSH_9.6\r\n",
	"no status":               "HTTP/1.1\r\n\r\n",
	"short status":            "HTTP/1.1 20 OK\r\n\r\n",
	"letters in status":       "HTTP/1.1 2x0 OK\r\n\r\n",
	"no minor version":        "HTTP/2 200 OK\r\nContent-Length: 2\r\n\r\nok",
	"version 2":               "HTTP/2.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
	"version 1.12":            "HTTP/1.12 200 OK\r\n\r\n",
	"no colon":                "HTTP/1.1 200 OK\r\nbad\r\nContent-Length: 2\r\n\r\nok",
	"no name":                 "HTTP/1.1 200 OK\r\n: x\r\nContent-Length: 2\r\n\r\nok",
	"first line folded":       "HTTP/1.1 200 OK\r\n A: b\r\nContent-Length: 2\r\n\r\nok",
	"control in value":        "HTTP/1.1 200 OK\r\nA: \x01\r\nContent-Length: 2\r\n\r\nok",
	"carriage return inside":  "HTTP/1.1 200 OK\r\nA: b\rc\r\nContent-Length: 2\r\n\r\nok",
	"carriage return doubled": "HTTP/1.1 200 OK\r\nA: b\r\r\nContent-Length: 2\r\n\r\nok",
	"nul in name":             "HTTP/1.1 200 OK\r\nA\x00: b\r\nContent-Length: 2\r\n\r\nok",
	"length negative":         "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\nok",
	"length signed":           "HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nok",
	"length letters":          "HTTP/1.1 200 OK\r\nContent-Length: 2x\r\n\r\nok",
	"length empty":            "HTTP/1.1 200 OK\r\nContent-Length:\r\n\r\nok",
	"length list":             "HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\n\r\nok",
	"length too large":        "HTTP/1.1 200 OK\r\nContent-Length: 9223372036854775808\r\n\r\nok",
	"lengths differ":          "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok",
	"bad length, chunked":     "HTTP/1.1 200 OK\r\nContent-Length: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
	"coding unknown":          "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
	"coding twice":            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
	"coding identity":         "HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\nContent-Length: 2\r\n\r\nok",
	"body cut":                "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nok",
	"chunk cut":               "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel",
	"chunk end cut":           "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello",
	"chunk end missing":       "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello0\r\n\r\n",
	"chunk line feed":         "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\nhello\r\n0\r\n\r\n",
	"chunk size letters":      "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5g\r\nhello\r\n0\r\n\r\n",
	"chunk size negative":     "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-5\r\nhello\r\n0\r\n\r\n",
	"chunk size empty":        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\r\nhello\r\n0\r\n\r\n",
	"chunk size huge":         "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n11111111111111111\r\nhello\r\n0\r\n\r\n",
	"chunk line long": "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;" + strings.Repeat("x", 9000) +
		"\r\nhello\r\n0\r\n\r\n",
	"chunk extensions": "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + strings.Repeat("1;"+strings.Repeat("x",
		3000)+"\r\nz\r\n", 20) + "0\r\n\r\n",
}

func manyHeaders(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "X-%d: %d\r\n", i%250, i)
	}
	return b.String()
}

func chunks(n, size int) string {
	return strings.Repeat(fmt.Sprintf("%x\r\n%s\r\n", size, strings.Repeat("c", size)), n)
}

// TestLikeNetHTTP reads each response with both clients.
func TestLikeNetHTTP(t *testing.T) {
	for name, raw := range corpus {
		for _, method := range []string{http.MethodGet, http.MethodHead, http.MethodPost} {
			if method == http.MethodHead && !strings.Contains(raw, "\r\n\r\n") {
				continue
			}
			t.Run(method+" "+name, func(t *testing.T) {
				t.Parallel()
				o := newOrigin(t, answering(raw))
				ref := &http.Transport{DisableCompression: true}
				defer ref.CloseIdleConnections()
				want := run(ref, request(t, t.Context(), method, o.addr, nil))
				got := run(transport(t, nil), request(t, t.Context(), method, o.addr, nil))
				if strings.HasPrefix(name, "interim endless") && got.err != nil {
					return // net/http allows 10 MiB of them, which takes a while; see TestInterimResponsesAreBounded
				}
				same(t, got, want)
			})
		}
	}
}

// same compares what two clients made of one response.
func same(t *testing.T, got, want observed) {
	t.Helper()
	if (got.err != nil) != (want.err != nil) || (got.bodyErr != nil) != (want.bodyErr != nil) {
		t.Fatalf("errors %v, %v; net/http: %v, %v", got.err, got.bodyErr, want.err, want.bodyErr)
	}
	if got.err != nil {
		return
	}
	if want.bodyErr != nil { // how much comes before the error is not promised
		got.body, want.body, got.trailer, want.trailer = "", "", nil, nil
	}
	if got.status != want.status || got.length != want.length || got.close != want.close {
		t.Errorf("status %d, length %d, close %t; net/http: %d, %d, %t", got.status, got.length, got.close, want.status, want.length, want.close)
	}
	for what, pair := range map[string][2]any{
		"header": {got.header, want.header}, "trailer": {got.trailer, want.trailer},
		"body": {got.body, want.body}, "coding": {got.coding, want.coding},
	} {
		if diff := cmp.Diff(pair[1], pair[0]); diff != "" {
			t.Errorf("%s differs (-net/http +h1):\n%s", what, diff)
		}
	}
}

// TestRefused holds what net/http would take.
func TestRefused(t *testing.T) {
	for name, raw := range map[string]string{
		"length with a space":   "HTTP/1.1 200 OK\r\nContent-Length : 2\r\n\r\nok",
		"coding with a space":   "HTTP/1.1 200 OK\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
		"status below 100":      "HTTP/1.1 007 Bond\r\nContent-Length: 2\r\n\r\nok",
		"status with a sign":    "HTTP/1.1 +20 OK\r\nContent-Length: 2\r\n\r\nok",
		"major version 0":       "HTTP/0.9 200 OK\r\nContent-Length: 2\r\n\r\nok",
		"more lines than sense": "HTTP/1.1 200 OK\r\n" + strings.Repeat("A: b\r\n", 20000) + "\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			o := newOrigin(t, answering(raw))
			if r := get(t, transport(t, nil), o.addr); r.err == nil {
				t.Errorf("accepted: %+v", r)
			}
			if n := o.accepted(); n != 1 {
				t.Errorf("%d connections, want 1", n)
			}
		})
	}
}

func TestHeadIsBounded(t *testing.T) {
	limited := func(c *h1.Config) { c.MaxResponseHeaderBytes = 64 << 10 }
	for name, raw := range map[string]string{
		"one line": "HTTP/1.1 200 OK\r\nA: " + strings.Repeat("x", 100<<10) + "\r\n\r\n",
		"no line":  strings.Repeat("HTTP/1.1", 20<<10),
		"lines":    "HTTP/1.1 200 OK\r\n" + strings.Repeat("A: "+strings.Repeat("x", 1000)+"\r\n", 100) + "\r\n",
		"interim":  strings.Repeat("HTTP/1.1 100 Continue\r\n\r\n", 5000) + okResponse,
	} {
		t.Run(name, func(t *testing.T) {
			o := newOrigin(t, answering(raw))
			if r := get(t, transport(t, limited), o.addr); r.err == nil || !strings.Contains(r.err.Error(), "too large") {
				t.Errorf("%+v, want an error about the size", r)
			}
		})
	}
}

// TestNonsenseIsNoticedAtOnce has an origin that says something else and waits.
func TestNonsenseIsNoticedAtOnce(t *testing.T) {
	for _, raw := range []string{"220 mail ESMTP\r\n", "HTTP/1.1 200 OK\r\nnonsense\r\n"} {
		o := newOrigin(t, func(_ int, c net.Conn) {
			_, _ = io.WriteString(c, raw)
			_, _ = io.Copy(io.Discard, c)
		})
		if r := get(t, transport(t, nil), o.addr); r.err == nil {
			t.Errorf("%q: accepted: %+v", raw, r)
		}
	}
}

func TestSwitchedIsAnResponse(t *testing.T) {
	o := newOrigin(t, answering("HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\nraw", okResponse))
	tr := transport(t, nil)
	if r := get(t, tr, o.addr); r.status != http.StatusSwitchingProtocols || r.body != "" || r.err != nil {
		t.Errorf("%+v, want status 101 without a body", r)
	}
	_ = get(t, tr, o.addr)
	if n := o.accepted(); n != 2 {
		t.Errorf("%d connections, want 2", n)
	}
}

// TestEndComesWithTheData is what lets a caller send the end of a stream together with its last bytes.
func TestEndComesWithTheData(t *testing.T) {
	for _, name := range []string{"plain", "chunked", "trailer", "long body"} {
		o := newOrigin(t, answering(corpus[name]))
		res, err := transport(t, nil).RoundTrip(request(t, t.Context(), http.MethodGet, o.addr, nil))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		buf := make([]byte, 256<<10)
		for err == nil {
			var n int
			if n, err = res.Body.Read(buf); n == 0 {
				t.Errorf("%s: the end came alone: %v", name, err)
			}
		}
		if !errors.Is(err, io.EOF) {
			t.Errorf("%s: %v", name, err)
		}
		_ = res.Body.Close()
	}
}
