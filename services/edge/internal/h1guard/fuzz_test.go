package h1guard_test

import (
	"bufio"
	"bytes"
	"io"
	"net/http"
	"testing"

	"github.com/culvert-tunnel/culvert/services/edge/internal/h1guard"
)

// FuzzGuard compares the guard with net/http: what the guard passes, net/http either refuses or frames the same way. The
// first byte of the input is the size of the pieces.
func FuzzGuard(f *testing.F) {
	for _, s := range []string{
		get + get,
		"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc" + get,
		"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3;a=b\r\nabc\r\n0\r\nX-A: b\r\n\r\n" + get,
		"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx\r\n" + get,
		"GET http://a/ HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n" + get,
		"POST / HTTP/1.0\r\nContent-Length: 3\r\nConnection: keep-alive\r\n\r\nabc" + get,
		"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"GET / HTTP/1.1\nHost: a\n\n",
	} {
		f.Add(append([]byte{1}, s...))
		f.Add(append([]byte{200}, s...))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		if len(in) < 2 {
			return
		}
		size, in := int(in[0])+1, in[1:]
		ends, through, passed := follow(t, in, size)
		compare(t, in[:passed], ends, through)
	})
}

// follow runs the guard and notes where requests end, and from where bytes pass unseen (-1: nowhere).
func follow(t *testing.T, in []byte, size int) (ends []int, through, passed int) {
	t.Helper()
	g, whole := h1guard.New(false, h1guard.Limits{}), h1guard.New(false, h1guard.Limits{})
	wholeN, wholeErr := whole.Feed(in)
	through = -1
	done, last := 0, h1guard.Between
	for done < len(in) {
		n, err := g.Feed(in[done : done+1])
		done += n
		if err != nil {
			if n != 0 || wholeErr == nil || wholeErr.Error() != err.Error() || wholeN != done {
				t.Fatalf("byte by byte: %v after %d; at once: %v after %d", err, done, wholeErr, wholeN)
			}
			return ends, through, done
		}
		switch now := g.Phase(); {
		case now == h1guard.Through:
			if through < 0 {
				through = done
			}
		case now == h1guard.Between && last != h1guard.Between:
			ends = append(ends, done)
			last = now
		default:
			last = now
		}
	}
	if wholeErr != nil || wholeN != len(in) {
		t.Fatalf("byte by byte everything passes; at once: %v after %d", wholeErr, wholeN)
	}
	if n, err := feed(h1guard.New(false, h1guard.Limits{}), string(in), size); err != nil || n != len(in) {
		t.Fatalf("in pieces of %d: %v after %d", size, err, n)
	}
	return ends, through, done
}

// compare reads the same bytes with net/http.
func compare(t *testing.T, in []byte, ends []int, through int) {
	t.Helper()
	src := bytes.NewReader(in)
	r := bufio.NewReader(src)
	at := func() int { return len(in) - src.Len() - r.Buffered() }
	method := ""
	for i := 0; ; i++ {
		if method == http.MethodPost { // as net/http's server does
			if b, err := r.Peek(4); err == nil {
				n := 0
				for n < 4 && (b[n] == '\r' || b[n] == '\n') {
					n++
				}
				_, _ = r.Discard(n)
			}
		}
		req, err := http.ReadRequest(r)
		if err != nil {
			return
		}
		method = req.Method
		if _, err := io.Copy(io.Discard, req.Body); err != nil {
			return
		}
		switch pos := at(); {
		case i < len(ends):
			if pos != ends[i] {
				t.Fatalf("request %d of %q ends at %d for net/http and at %d for the guard", i, in, pos, ends[i])
			}
		case i == len(ends) && through >= 0:
			if pos != through {
				t.Fatalf("request %d of %q ends at %d for net/http and at %d for the guard, with an upgrade", i, in, pos, through)
			}
			return
		default:
			t.Fatalf("net/http finds request %d in %q, which ends at %d; the guard knows of %d", i, in, pos, len(ends))
		}
	}
}
