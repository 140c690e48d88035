package h1guard_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/culvert-tunnel/culvert/services/edge/internal/h1guard"
)

const get = "GET / HTTP/1.1\r\nHost: a\r\n\r\n"

func TestWhatPasses(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"plain":                 get,
		"pipelined":             get + get + get,
		"http/1.0 without host": "GET / HTTP/1.0\r\n\r\n",
		"every kind of value": "GET /a?b=%00#c HTTP/1.1\r\nHost:a\r\nX-Empty:\r\nX-Tab: \ta\tb \t\r\n" +
			"X-Utf8: \xc3\xa4\xff\r\nx!#$%&'*+-.^_`|~9: 1\r\n\r\n",
		"length":                  "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc" + get,
		"length of zero":          "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n" + get,
		"same length twice":       "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\ncontent-length: 03\r\n\r\nabc" + get,
		"control bytes in a body": "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\n\x00\r\n\x7f" + get,
		"chunks": "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n3\r\nabc\r\n" +
			"00A;x=\"y\"\r\n0123456789\r\n0\r\n\r\n" + get,
		"trailers":                "POST / HTTP/1.1\r\nHost: a\r\ntransfer-encoding: chunked\r\n\r\n0\r\nX-Sum: 1\r\nX-Two: \r\n\r\n" + get,
		"absolute target":         "GET http://A.example:80/x HTTP/1.1\r\nHost: a.EXAMPLE:80\r\n\r\n" + get,
		"absolute, no path":       "GET HTTPS://a?x HTTP/1.1\r\nHost: a\r\n\r\n" + "GET http://a HTTP/1.1\r\nHost: a\r\n\r\n",
		"asterisk":                "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
		"connect":                 "CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n",
		"empty line after a post": "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx\r\n" + get,
		"upgrade":                 "GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\n\r\n\x00\n\n anything",
		"upgrade to h2c": "GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade, http2-settings\r\nUpgrade: h2c\r\n" +
			"HTTP2-Settings: x\r\n\r\n" + get,
		"websocket post":         "POST / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\nContent-Length: 1\r\n\r\nx" + get,
		"upgrade to foo":         "GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: foo/1, bar\r\n\r\n\x00\n\n anything",
		"foo without connection": "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: foo/1\r\n\r\n" + get,
		"foo post":               "POST / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: foo/1\r\n\r\n" + get,
	} {
		for _, size := range []int{1, 2, 7, len(text)} {
			g := h1guard.New(false, h1guard.Limits{})
			if n, err := feed(g, text, size); err != nil {
				t.Errorf("%s in pieces of %d: refused at %q: %v", name, size, text[:n], err)
			} else if up := strings.HasPrefix(name, "upgrade") && name != "upgrade to h2c"; up != g.Upgraded() ||
				up != (g.Phase() == h1guard.Through) ||
				(!up && g.Phase() != h1guard.Between) {
				t.Errorf("%s in pieces of %d: upgraded %v, phase %d", name, size, g.Upgraded(), g.Phase())
			}
		}
	}
}

// feed gives text in pieces and reports how much of it passed.
func feed(g *h1guard.Guard, text string, size int) (int, error) {
	done := 0
	for done < len(text) {
		end := min(done+size, len(text))
		n, err := g.Feed([]byte(text[done:end]))
		done += n
		if err != nil {
			return done, err
		}
		if done != end {
			return done, errors.New("bytes were left without an error")
		}
	}
	return done, nil
}

// refusal is a text that the guard refuses.
type refusal struct {
	name, text string
	want       h1guard.Reason
	phase      h1guard.Phase
}

func refusals() []refusal {
	head := func(lines string) string { return "POST / HTTP/1.1\r\nHost: a\r\n" + lines + "\r\n\r\n" }
	chunks := func(body string) string { return head("Transfer-Encoding: chunked") + body }
	return []refusal{
		{"length and coding", head("Content-Length: 3\r\nTransfer-Encoding: chunked"), h1guard.TwoLengths, h1guard.Head},
		{"coding and length", head("Transfer-Encoding: chunked\r\nContent-Length: 0"), h1guard.TwoLengths, h1guard.Head},
		{"two lengths", head("Content-Length: 3\r\nContent-Length: 4"), h1guard.ContentLength, h1guard.Head},
		{"list of lengths", head("Content-Length: 3, 3"), h1guard.ContentLength, h1guard.Head},
		{"signed length", head("Content-Length: +3"), h1guard.ContentLength, h1guard.Head},
		{"negative length", head("Content-Length: -1"), h1guard.ContentLength, h1guard.Head},
		{"empty length", head("Content-Length:"), h1guard.ContentLength, h1guard.Head},
		{"hexadecimal length", head("Content-Length: 0x3"), h1guard.ContentLength, h1guard.Head},
		{"length beyond 63 bits", head("Content-Length: 9223372036854775808"), h1guard.ContentLength, h1guard.Head},
		{"length beyond 64 bits", head("Content-Length: 18446744073709551619"), h1guard.ContentLength, h1guard.Head},
		{"long length", head("Content-Length: " + strings.Repeat("0", 300) + "3"), h1guard.ContentLength, h1guard.Head},
		{"coding xchunked", head("Transfer-Encoding: xchunked"), h1guard.TransferEncoding, h1guard.Head},
		{"coding identity", head("Transfer-Encoding: identity"), h1guard.TransferEncoding, h1guard.Head},
		{"coding empty", head("Transfer-Encoding:"), h1guard.TransferEncoding, h1guard.Head},
		{"coding gzip, chunked", head("Transfer-Encoding: gzip, chunked"), h1guard.TransferEncoding, h1guard.Head},
		{"coding chunked, gzip", head("Transfer-Encoding: chunked, gzip"), h1guard.TransferEncoding, h1guard.Head},
		{"coding twice", head("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked"), h1guard.TransferEncoding, h1guard.Head},
		{"coding in quotes", head("Transfer-Encoding: \"chunked\""), h1guard.TransferEncoding, h1guard.Head},
		{"coding with a vertical tab", head("Transfer-Encoding: \x0bchunked"), h1guard.FieldValue, h1guard.Head},
		{"coding in http/1.0", "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", h1guard.TransferEncoding, h1guard.Head},
		{"folded line", head("X: a\r\n b"), h1guard.Folded, h1guard.Head},
		{"folded by a tab", head("X: a\r\n\tb"), h1guard.Folded, h1guard.Head},
		{"folded first line", "GET / HTTP/1.1\r\n Host: a\r\n\r\n", h1guard.Folded, h1guard.Head},
		{"bare lf in the request line", "GET / HTTP/1.1\nHost: a\r\n\r\n", h1guard.Version, h1guard.Head},
		{"bare lf after a value", "GET / HTTP/1.1\r\nHost: a\n\r\n", h1guard.LineEnd, h1guard.Head},
		{"bare lf as the empty line", "GET / HTTP/1.1\r\nHost: a\r\n\n", h1guard.LineEnd, h1guard.Head},
		{"bare lf in a name", "GET / HTTP/1.1\r\nHost\n: a\r\n\r\n", h1guard.LineEnd, h1guard.Head},
		{"bare cr in a value", head("X: a\rb"), h1guard.LineEnd, h1guard.Head},
		{"bare cr before a line", head("X: a\r\n\rX"), h1guard.LineEnd, h1guard.Head},
		{"cr cr lf", head("X: a\r\r\nb: c"), h1guard.LineEnd, h1guard.Head},
		{"cr in the request line", "GET / HTTP/1.1\rX\r\nHost: a\r\n\r\n", h1guard.LineEnd, h1guard.Head},
		{"nul in a value", head("X: a\x00b"), h1guard.FieldValue, h1guard.Head},
		{"nul first in a value", head("X:\x00b"), h1guard.FieldValue, h1guard.Head},
		{"escape in a value", head("X: \x1b"), h1guard.FieldValue, h1guard.Head},
		{"delete in a value", head("X: a\x7f"), h1guard.FieldValue, h1guard.Head},
		{"nul in a name", head("X\x00: a"), h1guard.FieldName, h1guard.Head},
		{"nul in the target", "GET /\x00 HTTP/1.1\r\nHost: a\r\n\r\n", h1guard.Target, h1guard.Head},
		{"tab in the target", "GET /\ta HTTP/1.1\r\nHost: a\r\n\r\n", h1guard.Target, h1guard.Head},
		{"nul in the method", "G\x00T / HTTP/1.1\r\nHost: a\r\n\r\n", h1guard.RequestLine, h1guard.Head},
		{"space before the colon", head("Content-Length : 3"), h1guard.FieldName, h1guard.Head},
		{"tab before the colon", head("Transfer-Encoding\t: chunked"), h1guard.FieldName, h1guard.Head},
		{"empty name", head(": a"), h1guard.FieldName, h1guard.Head},
		{"no colon", head("abc"), h1guard.LineEnd, h1guard.Head},
		{"parenthesis in a name", head("X(y): a"), h1guard.FieldName, h1guard.Head},
		{"umlaut in a name", head("X\xc3\xa4: a"), h1guard.FieldName, h1guard.Head},
		{"umlaut first in a name", head("\xc3\xa4: a"), h1guard.FieldName, h1guard.Head},
		{"no host", "GET / HTTP/1.1\r\n\r\n", h1guard.Host, h1guard.Head},
		{"two hosts", "GET / HTTP/1.1\r\nHost: a\r\nhost: a\r\n\r\n", h1guard.Host, h1guard.Head},
		{"long host", "GET / HTTP/1.1\r\nHost: " + strings.Repeat("a", 300) + "\r\n\r\n", h1guard.Host, h1guard.Head},
		{"target of another host", "GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n", h1guard.Host, h1guard.Head},
		{"target of another port", "GET http://a:81/ HTTP/1.1\r\nHost: a\r\n\r\n", h1guard.Host, h1guard.Head},
		{"user in the target", "GET http://a@b/ HTTP/1.1\r\nHost: b\r\n\r\n", h1guard.Target, h1guard.Head},
		{"no host in the target", "GET http:/// HTTP/1.1\r\nHost: b\r\n\r\n", h1guard.Target, h1guard.Head},
		{"long host in the target", "GET http://" + strings.Repeat("a", 300) + "/ HTTP/1.1\r\nHost: b\r\n\r\n", h1guard.Target, h1guard.Head},
		{"other scheme", "GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n", h1guard.Target, h1guard.Head},
		{"scheme without a host", "GET http:/ HTTP/1.1\r\nHost: a\r\n\r\n", h1guard.Target, h1guard.Head},
		{"relative target", "GET index.html HTTP/1.1\r\nHost: a\r\n\r\n", h1guard.Target, h1guard.Head},
		{"empty target", "GET  HTTP/1.1\r\nHost: a\r\n\r\n", h1guard.Target, h1guard.Head},
		{"get of an asterisk", "GET * HTTP/1.1\r\nHost: a\r\n\r\n", h1guard.Target, h1guard.Head},
		{"more than an asterisk", "OPTIONS */ HTTP/1.1\r\nHost: a\r\n\r\n", h1guard.Target, h1guard.Head},
		{"connect to a path", "CONNECT /x HTTP/1.1\r\nHost: a\r\n\r\n", h1guard.Target, h1guard.Head},
		{"two spaces", "GET /  HTTP/1.1\r\nHost: a\r\n\r\n", h1guard.Version, h1guard.Head},
		{"space first", " GET / HTTP/1.1\r\nHost: a\r\n\r\n", h1guard.RequestLine, h1guard.Head},
		{"empty line first", "\r\n" + get, h1guard.RequestLine, h1guard.Head},
		{"empty line after a get", get + "\r\n" + get, h1guard.RequestLine, h1guard.Head},
		{"two empty lines after a post", head("Content-Length: 1") + "x\r\n\r\n" + get, h1guard.RequestLine, h1guard.Head},
		{"cr after a post", head("Content-Length: 1") + "x\rG", h1guard.LineEnd, h1guard.Between},
		{"long method", strings.Repeat("A", 40) + " / HTTP/1.1\r\nHost: a\r\n\r\n", h1guard.RequestLine, h1guard.Head},
		{"http/0.9", "GET /\r\n", h1guard.Target, h1guard.Head},
		{"http/1.2", "GET / HTTP/1.2\r\nHost: a\r\n\r\n", h1guard.Version, h1guard.Head},
		{"http/2.0", "GET / HTTP/2.0\r\nHost: a\r\n\r\n", h1guard.Version, h1guard.Head},
		{"lower case version", "GET / http/1.1\r\nHost: a\r\n\r\n", h1guard.Version, h1guard.Head},
		{"long version", "GET / HTTP/1.10\r\nHost: a\r\n\r\n", h1guard.Version, h1guard.Head},
		{"space after the version", "GET / HTTP/1.1 \r\nHost: a\r\n\r\n", h1guard.Version, h1guard.Head},
		{"tls", "\x16\x03\x01\x02\x00", h1guard.RequestLine, h1guard.Head},
		{"preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", h1guard.Target, h1guard.Head},
		{
			"upgrade with a body", "GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\nContent-Length: 1\r\n\r\n",
			h1guard.UpgradeBody, h1guard.Head,
		},
		{"empty chunk size", chunks("\r\n"), h1guard.Chunk, h1guard.Body},
		{"chunk size of letters", chunks("xyz\r\n"), h1guard.Chunk, h1guard.Body},
		{"chunk size with 0x", chunks("0x3\r\nabc\r\n"), h1guard.Chunk, h1guard.Body},
		{"signed chunk size", chunks("+3\r\nabc\r\n"), h1guard.Chunk, h1guard.Body},
		{"chunk size with a space", chunks("3 \r\nabc\r\n"), h1guard.Chunk, h1guard.Body},
		{"space before a chunk size", chunks(" 3\r\nabc\r\n"), h1guard.Chunk, h1guard.Body},
		{"chunk size beyond 64 bits", chunks("10000000000000003\r\nabc\r\n"), h1guard.Chunk, h1guard.Body},
		{"long chunk size", chunks(strings.Repeat("0", 20) + "\r\n"), h1guard.Chunk, h1guard.Body},
		{"bare lf after a chunk size", chunks("3\nabc\r\n"), h1guard.Chunk, h1guard.Body},
		{"cr in a chunk size", chunks("3\r3\r\nabc"), h1guard.Chunk, h1guard.Body},
		{"bare lf in an extension", chunks("3;a\nabc\r\n"), h1guard.Chunk, h1guard.Body},
		{"bare cr in an extension", chunks("3;a\rb\r\nabc\r\n"), h1guard.Chunk, h1guard.Body},
		{"nul in an extension", chunks("3;a\x00\r\nabc\r\n"), h1guard.Chunk, h1guard.Body},
		{"long extension", chunks("3;" + strings.Repeat("a", 2000) + "\r\nabc\r\n"), h1guard.Chunk, h1guard.Body},
		{"no crlf after a chunk", chunks("3\r\nabcd\r\n"), h1guard.Chunk, h1guard.Body},
		{"lf after a chunk", chunks("3\r\nabc\n0\r\n\r\n"), h1guard.Chunk, h1guard.Body},
		{"cr after a chunk", chunks("3\r\nabc\r0\r\n\r\n"), h1guard.Chunk, h1guard.Body},
		{"folded trailer", chunks("0\r\nX: a\r\n b\r\n\r\n"), h1guard.Folded, h1guard.Body},
		{"length as a trailer", chunks("0\r\nContent-Length: 3\r\n\r\n"), h1guard.Trailers, h1guard.Body},
		{"host as a trailer", chunks("0\r\nhost: b\r\n\r\n"), h1guard.Trailers, h1guard.Body},
		{"lf after the trailers", chunks("0\r\nX: a\r\n\n"), h1guard.LineEnd, h1guard.Body},
		{"many trailers", chunks("0\r\n" + strings.Repeat("X: "+strings.Repeat("a", 1000)+"\r\n", 100)), h1guard.Trailers, h1guard.Body},
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	for _, c := range refusals() {
		for _, size := range []int{1, 3, len(c.text)} {
			n, err := feed(h1guard.New(false, h1guard.Limits{}), c.text, size)
			var refusal *h1guard.RefusedError
			if !errors.As(err, &refusal) || refusal.Reason != c.want || refusal.Phase != c.phase {
				t.Errorf("%s in pieces of %d: %v %+v after %q, want %v in phase %d", c.name, size, err, refusal, c.text[:n], c.want, c.phase)
			}
			if size > 1 {
				continue
			}
			if again := h1guard.New(false, h1guard.Limits{}); n < len(c.text) {
				if m, err := feed(again, c.text[:n], n+1); err != nil || m != n {
					t.Errorf("%s: the bytes before it are refused too: %v after %d", c.name, err, m)
				}
				if _, err := again.Feed([]byte(c.text[n:])); err == nil {
					t.Errorf("%s: passes in two pieces", c.name)
				}
				if _, err := again.Feed([]byte(get)); err == nil {
					t.Errorf("%s: something passes after it", c.name)
				}
			}
		}
	}
}

func TestPriorKnowledge(t *testing.T) {
	t.Parallel()
	const preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
	for _, c := range []struct {
		text  string
		fine  bool
		phase h1guard.Phase
	}{
		{preface + "\x00\x00\x00", true, h1guard.Through},
		{get, true, h1guard.Between},
		{get + preface, false, 0},
		{"PRI / HTTP/1.1\r\nHost: a\r\n\r\n", false, 0},
		{"PRI * HTTP/2.0\r\n\r\nSX", false, 0},
		{"PUT / HTTP/1.1\r\nHost: a\r\n\r\n", true, h1guard.Between},
		{"PRIZE / HTTP/1.1\r\nHost: a\r\n\r\n", true, h1guard.Between},
		{"PR", true, h1guard.Head},
		{"", true, h1guard.Between},
		{"\r\n" + get, false, 0},
	} {
		for _, size := range []int{1, 5, len(c.text) + 1} {
			g := h1guard.New(true, h1guard.Limits{})
			n, err := feed(g, c.text, size)
			if (err == nil) != c.fine || (c.fine && g.Phase() != c.phase) {
				t.Errorf("%q in pieces of %d: %v after %d, phase %d", c.text, size, err, n, g.Phase())
			}
		}
	}
}

func TestReasonsHaveNames(t *testing.T) {
	t.Parallel()
	seen := make(map[string]bool)
	for _, r := range h1guard.Reasons() {
		if r.String() == "" || r.String() == "unknown" || seen[r.String()] {
			t.Errorf("reason %d is %q", r, r)
		}
		seen[r.String()] = true
	}
	if h1guard.Reason(200).String() != "unknown" {
		t.Error("an unknown reason has a name")
	}
}

func BenchmarkHead(b *testing.B) {
	text := []byte("GET /some/path?with=query HTTP/1.1\r\nHost: app.example.com\r\n" +
		"User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36\r\n" +
		"Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\nAccept-Encoding: gzip, deflate, br\r\n" +
		"Accept-Language: en-US,en;q=0.9\r\nCookie: session=0123456789abcdef0123456789abcdef; other=1\r\nConnection: keep-alive\r\n\r\n")
	g := h1guard.New(true, h1guard.Limits{})
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		if n, err := g.Feed(text); err != nil || n != len(text) {
			b.Fatal(n, err)
		}
	}
}

func BenchmarkChunks(b *testing.B) {
	g := h1guard.New(false, h1guard.Limits{})
	if _, err := g.Feed([]byte("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")); err != nil {
		b.Fatal(err)
	}
	chunk := []byte("8000\r\n" + strings.Repeat("x", 32<<10) + "\r\n")
	b.SetBytes(int64(len(chunk)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := g.Feed(chunk); err != nil {
			b.Fatal(err)
		}
	}
}

func TestLimits(t *testing.T) {
	t.Parallel()
	limits := h1guard.Limits{Target: 20, Fields: 4, Bytes: 4*32 + 40}
	const start = "GET / HTTP/1.1\r\nHost: a\r\n"
	chunked := "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n"
	for name, c := range map[string]struct {
		text   string
		reason h1guard.Reason
		status int
		phase  h1guard.Phase
	}{
		"at the limits": {"GET /" + strings.Repeat("a", 19) + " HTTP/1.1\r\nHost: a\r\na:\r\nb:\r\nc: " + strings.Repeat("v", 32) +
			"\r\n\r\n", 0, 0, 0},
		"the next request starts anew": {start + "a:\r\nb:\r\nc:\r\n\r\n" + start + "a:\r\nb:\r\nc:\r\n\r\n", 0, 0, 0},
		"target":                       {"GET /" + strings.Repeat("a", 20) + " HTTP/1.1\r\n", h1guard.TargetLength, 414, h1guard.Head},
		"absolute target":              {"GET http://a/" + strings.Repeat("a", 20) + " HTTP/1.1\r\n", h1guard.TargetLength, 414, h1guard.Head},
		"fields":                       {start + strings.Repeat("a:\r\n", 4), h1guard.FieldCount, 431, h1guard.Head},
		"bytes in a name":              {start + strings.Repeat("n", 200), h1guard.FieldBytes, 431, h1guard.Head},
		"bytes in a value":             {start + "a: " + strings.Repeat("v", 200), h1guard.FieldBytes, 431, h1guard.Head},
		"bytes in several fields": {
			start + "a: " + strings.Repeat("v", 20) + "\r\nb: " + strings.Repeat("v", 20) + "\r\nc: v\r\n",
			h1guard.FieldBytes, 431, h1guard.Head,
		},
		"trailers at the limit": {chunked + strings.Repeat("a:\r\n", 4) + "\r\n", 0, 0, 0},
		"trailer fields":        {chunked + strings.Repeat("a:\r\n", 5), h1guard.FieldCount, 431, h1guard.Body},
		"trailer bytes":         {chunked + "a: " + strings.Repeat("v", 200), h1guard.FieldBytes, 431, h1guard.Body},
	} {
		for _, size := range []int{1, 3, 1 << 10} {
			_, err := feed(h1guard.New(false, limits), c.text, size)
			var r *h1guard.RefusedError
			switch errors.As(err, &r); {
			case c.reason == 0 && err != nil:
				t.Errorf("%s in pieces of %d: %v", name, size, err)
			case c.reason != 0 && (r == nil || r.Reason != c.reason || r.Phase != c.phase || r.Reason.Status() != c.status):
				t.Errorf("%s in pieces of %d: %v, want %s", name, size, err, c.reason)
			}
		}
	}
	if got := h1guard.Folded.Status(); got != 400 {
		t.Errorf("status of a folded line is %d", got)
	}
}
