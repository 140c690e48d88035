package front

import (
	"net/http"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/culvert-tunnel/culvert/pkg/wire/stream"
)

// White box: what a visitor may not send is a security boundary, so the decision itself has a table.
func TestDropRequestHeader(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]bool{
		"Accept": false, "Authorization": false, "Cookie": false, "Cdn-Loop": false, "Forwarded": false, "Range": false, "X_custom": false,
		"Cf-Ipcountry": false, "Cf-Cloudflared": false,
		"Connection": true, "Keep-Alive": true, "Proxy-Connection": true, "Te": true, "Trailer": true, "Transfer-Encoding": true,
		"Upgrade": true, "Proxy-Authorization": true, "Expect": true, "Content-Length": true, "Http2-Settings": true,
		"Cf-Cloudflared-Proxy-Connection-Upgrade": true, "Cf-Cloudflared-Proxy-Src": true, "Cf-Int-Cloudflared-Tracing": true,
		"Cf-Warp-Tag-Id": true, "Cf-Proxy-X": true, "Cf-Trace-Id": true, "Cf-Ray": true, "Cf-Connecting-Ip": true,
		"X-Forwarded-For": true, "X-Forwarded-Proto": true, "X-Forwarded-Host": true, "X_forwarded_for": true,
		"Cf_connecting_ip": true, "Cf-Cloudflared_proxy-Src": true, "Transfer_encoding": true,
	} {
		if got := dropRequestHeader(name); got != want {
			t.Errorf("dropRequestHeader(%q) = %v, want %v", name, got, want)
		}
	}
}

func TestParseAnswer(t *testing.T) {
	t.Parallel()
	pairs := func(kv ...string) []stream.Pair {
		var out []stream.Pair
		for i := 0; i < len(kv); i += 2 {
			out = append(out, stream.Pair{Key: kv[i], Val: kv[i+1]})
		}
		return out
	}
	for name, c := range map[string]struct {
		md   []stream.Pair
		want answer
		ok   bool
		h    http.Header
	}{
		"plain":               {pairs("HttpStatus", "200", "HttpHeader:a", "1", "HttpHeader:A", "2"), answer{200, -1}, true, http.Header{"A": {"1", "2"}}},
		"length":              {pairs("HttpStatus", "200", "HttpHeader:content-length", "7"), answer{200, 7}, true, http.Header{"Content-Length": {"7"}}},
		"same length":         {pairs("HttpStatus", "200", "HttpHeader:Content-Length", "7", "HttpHeader:Content-Length", "7"), answer{200, 7}, true, http.Header{"Content-Length": {"7"}}},
		"two lengths":         {pairs("HttpStatus", "200", "HttpHeader:Content-Length", "7", "HttpHeader:Content-Length", "8"), answer{}, false, nil},
		"negative length":     {pairs("HttpStatus", "200", "HttpHeader:Content-Length", "-1"), answer{}, false, nil},
		"chunked wins":        {pairs("HttpStatus", "200", "HttpHeader:Content-Length", "7", "HttpHeader:transfer-encoding", "chunked"), answer{200, -1}, true, http.Header{}},
		"bad name":            {pairs("HttpStatus", "200", "HttpHeader:a b", "1", "HttpHeader:", "1"), answer{200, -1}, true, http.Header{}},
		"bad value":           {pairs("HttpStatus", "200", "HttpHeader:A", "1\r\nSet-Cookie: x=1"), answer{200, -1}, true, http.Header{}},
		"named in connection": {pairs("HttpStatus", "200", "HttpHeader:X-Hop", "1", "HttpHeader:connection", "close, x-hop", "HttpHeader:B", "1"), answer{200, -1}, true, http.Header{"B": {"1"}}},
		"control":             {pairs("HttpStatus", "200", "HttpHeader:cf-int-x", "1", "HttpHeader:CF-Cloudflared-Y", "1", "HttpHeader:Cf-Ray", "z"), answer{200, -1}, true, http.Header{"Cf-Ray": {"z"}}},
		"no status":           {pairs("HttpHeader:A", "1"), answer{}, false, nil},
		"informational":       {pairs("HttpStatus", "103"), answer{}, false, nil},
		"switching":           {pairs("HttpStatus", "101"), answer{}, false, nil},
		"huge status":         {pairs("HttpStatus", "1000"), answer{}, false, nil},
		"status is a word":    {pairs("HttpStatus", "OK"), answer{}, false, nil},
	} {
		h := make(http.Header)
		got, ok := parseAnswer(h, c.md)
		if ok != c.ok || (ok && got != c.want) {
			t.Errorf("%s: %+v, %v; want %+v, %v", name, got, ok, c.want, c.ok)
		}
		if ok {
			if diff := cmp.Diff(c.h, h); diff != "" {
				t.Errorf("%s (-want +got):\n%s", name, diff)
			}
		}
	}
}
