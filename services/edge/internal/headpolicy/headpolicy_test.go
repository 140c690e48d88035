package headpolicy_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/culvert-tunnel/culvert/pkg/wire/httpfield"
	"github.com/culvert-tunnel/culvert/pkg/wire/stream"
	"github.com/culvert-tunnel/culvert/services/edge/internal/headpolicy"
)

type header = map[string][]string

// What a visitor may send is a security boundary, so the decision has a table of its own.
func TestTreatmentOfRequestFields(t *testing.T) {
	t.Parallel()
	for want, names := range map[headpolicy.Treatment][]string{
		headpolicy.Pass: {
			"Accept", "Authorization", "Cookie", "Range", "X_custom", "Sec-Websocket-Key", "Cf-Access-Jwt-Assertion", "Max-Forwards", "Via",
			"X-Http-Method-Override", "Proxy-Status", "Cf-Access-Jump-Destination",
		},
		headpolicy.Trusted: {
			"Forwarded", "X-Real-Ip", "X_real_ip", "True-Client-Ip", "X-Client-Ip", "X-Original-Url", "X-Rewrite-Url", "X-Forwarded-Port",
			"X-Forwarded-Prefix", "X_forwarded_port", "Cf-Ipcountry", "Cf-Worker", "Cf-Access-Authenticated-User-Email", "Cf_worker",
			"Cf-Access-Jwt_assertion-X", "Cf-Cloudflared",
		},
		headpolicy.Drop: {
			"Connection", "Keep-Alive", "Proxy-Connection", "Te", "Trailer", "Transfer-Encoding", "Upgrade", "Proxy-Authorization",
			"Expect", "Content-Length", "Http2-Settings", "Proxy", "Host", ":protocol", "Cdn-Loop",
			"Cf-Cloudflared-Proxy-Connection-Upgrade", "Cf-Cloudflared-Proxy-Src", "Cf-Int-Cloudflared-Tracing", "Cf-Warp-Tag-Id",
			"Cf-Proxy-X", "Cf-Trace-Id", "Cf-Ray", "Cf-Connecting-Ip", "Cf-Connecting-Ipv6", "Cf-Visitor", "X-Forwarded-For",
			"X-Forwarded-Proto", "X-Forwarded-Host", "X_forwarded_for", "Cf_connecting_ip", "Cf-Cloudflared_proxy-Src",
			"Transfer_encoding", "Culvert-Anything",
		},
	} {
		for _, name := range names {
			if got := headpolicy.Of(name); got != want {
				t.Errorf("Of(%q) = %d, want %d", name, got, want)
			}
		}
	}
}

// fields gives the header fields among metadata, sorted.
func fields(md []stream.Pair) []string {
	var out []string
	for _, p := range md {
		if name, ok := strings.CutPrefix(p.Key, stream.HeaderPrefix); ok {
			out = append(out, name+": "+p.Val)
		}
	}
	slices.Sort(out)
	return out
}

func TestAppendRequest(t *testing.T) {
	t.Parallel()
	visitor := headpolicy.Visitor{Addr: "192.0.2.7", Peer: "192.0.2.7", Scheme: "http", Ray: "ray", Loop: "me"}
	proxied := headpolicy.Visitor{
		Addr: "192.0.2.7", Peer: "10.0.0.1", Scheme: "https", Host: "app.test", Ray: "ray", Loop: "me",
		TrustedProxy: true,
	}
	set := []string{
		"Cdn-Loop: me", "Cf-Connecting-Ip: 192.0.2.7", "Cf-Ray: ray", "X-Forwarded-For: 192.0.2.7", "X-Forwarded-Host: a.test",
		"X-Forwarded-Proto: http",
	}
	with := func(more ...string) []string { out := append(more, set...); slices.Sort(out); return out }
	for name, c := range map[string]struct {
		r    headpolicy.Request
		want []string
	}{
		"nothing": {headpolicy.Request{Visitor: visitor}, set},
		"what a visitor must not assert": {headpolicy.Request{Visitor: visitor, Header: header{
			"Forwarded": {"for=1.1.1.1"}, "Cf-Worker": {"x"}, "X-Forwarded-Port": {"1"}, "X-Real-Ip": {"1.1.1.1"}, "Cf-Connecting-Ip": {"1.1.1.1"},
			"X-Forwarded-Proto": {"https"}, "Cf-Access-Jwt-Assertion": {"signed"}, "Proxy": {"http://evil"},
		}}, with("Cf-Access-Jwt-Assertion: signed")},
		"what a trusted proxy asserts": {
			headpolicy.Request{Visitor: proxied, Header: header{
				"X-Forwarded-For": {"1.1.1.1", "192.0.2.7"}, "X-Forwarded-Port": {"443"}, "Cf-Ipcountry": {"CH"}, "Cf-Int-X": {"x"}, "Proxy": {"x"},
				"X-Forwarded-Host": {"app.test"}, "X-Forwarded-Proto": {"https"},
			}},
			[]string{
				"Cdn-Loop: me", "Cf-Connecting-Ip: 192.0.2.7", "Cf-Ipcountry: CH", "Cf-Ray: ray", "X-Forwarded-For: 1.1.1.1, 192.0.2.7, 10.0.0.1",
				"X-Forwarded-Host: app.test", "X-Forwarded-Port: 443", "X-Forwarded-Proto: https",
			},
		},
		"fields named by Connection": {headpolicy.Request{Visitor: visitor, Header: header{
			"Connection": {"close, x-hop", "X-Other"}, "X-Hop": {"1"}, "X-Other": {"1"}, "X-Kept": {"1"},
		}}, with("X-Kept: 1")},
		"hops before": {
			headpolicy.Request{Visitor: visitor, Header: header{"Cdn-Loop": {"other; x=1"}, "Connection": {"Cdn-Loop"}}},
			append([]string{"Cdn-Loop: other; x=1, me"}, set[1:]...),
		},
		"length":         {headpolicy.Request{Visitor: visitor, Body: headpolicy.Body{Length: 3}}, with("Content-Length: 3")},
		"length of zero": {headpolicy.Request{Visitor: visitor, Header: header{"Content-Length": {"0"}}}, with("Content-Length: 0")},
		"unknown length": {
			headpolicy.Request{Visitor: visitor, Body: headpolicy.Body{Length: -1, Expect: true, Trailers: "A"}},
			with("Expect: 100-continue", "Trailer: A", "Transfer-Encoding: chunked"),
		},
		"TE": {headpolicy.Request{Visitor: visitor, Header: header{"Te": {"gzip, trailers"}}}, with("Te: trailers")},
		"key of the edge": {
			headpolicy.Request{Visitor: visitor, WebSocket: true, Key: "ours", Header: header{"Sec-Websocket-Key": {"theirs"}}},
			with("Sec-Websocket-Key: ours"),
		},
	} {
		c.r.Method, c.r.Host = "GET", "a.test"
		md, cost, err := headpolicy.AppendRequest(nil, &c.r, httpfield.DefaultLimits())
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		got := fields(md)
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
		if want := len(strings.Join(got, "")) + (httpfield.FieldOverhead-2)*len(got); cost != want {
			t.Errorf("%s: cost %d, want %d", name, cost, want)
		}
		if val, _ := stream.Lookup(md, stream.KeyHost); val != "a.test" {
			t.Errorf("%s: host %q", name, val)
		}
	}
}

func TestLimits(t *testing.T) {
	t.Parallel()
	limits := httpfield.Limits{MaxFields: 10, MaxBytes: 1000}
	few := header{"A": {"1", "2", "3", "4"}}
	request := func(h header) error {
		_, _, err := headpolicy.AppendRequest(nil, &headpolicy.Request{Header: h}, limits)
		return err
	}
	if err := request(few); err != nil {
		t.Errorf("at the limit: %v", err)
	}
	for name, h := range map[string]header{
		"fields": {"A": {"1", "2", "3", "4", "5"}}, "value": {"A": {strings.Repeat("v", 1000)}}, "name": {strings.Repeat("N", 1000): {""}},
	} {
		if err := request(h); !errors.Is(err, httpfield.ErrLimit) {
			t.Errorf("request, %s: %v", name, err)
		}
		md := []stream.Pair{{Key: stream.KeyStatus, Val: "200"}}
		var trailers []stream.Pair
		for key, values := range h {
			for _, val := range append(values, values...) {
				md = append(md, stream.Pair{Key: stream.HeaderPrefix + key, Val: val})
				trailers = append(trailers, stream.Pair{Key: key, Val: val})
			}
		}
		md = append(md, md[1:]...)
		if _, err := headpolicy.ParseResponse(make(header), md, limits); !errors.Is(err, httpfield.ErrLimit) {
			t.Errorf("response, %s: %v", name, err)
		}
		if err := headpolicy.SetTrailers(make(header), nil, append(trailers, trailers...), "Trailer:", limits); !errors.Is(err,
			httpfield.ErrLimit) {
			t.Errorf("response trailers, %s: %v", name, err)
		}
	}
	if _, err := headpolicy.AppendTrailers(nil, header{"A": slices.Repeat([]string{"1"}, 11)}, limits); !errors.Is(err,
		httpfield.ErrTooManyFields) {
		t.Errorf("request trailers: %v", err)
	}
}

func pairs(kv ...string) []stream.Pair {
	var out []stream.Pair
	for i := 0; i < len(kv); i += 2 {
		out = append(out, stream.Pair{Key: kv[i], Val: kv[i+1]})
	}
	return out
}

func TestParseResponse(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		md   []stream.Pair
		want headpolicy.Response // the zero value for an error
		h    header
	}{
		"plain": {
			pairs("HttpStatus", "200", "HttpHeader:a", "1", "HttpHeader:A", "2"),
			headpolicy.Response{Status: 200, Length: -1},
			header{"A": {"1", "2"}},
		},
		"length": {
			pairs("HttpStatus", "200", "HttpHeader:content-length", "7"),
			headpolicy.Response{Status: 200, Length: 7},
			header{"Content-Length": {"7"}},
		},
		"same length": {
			pairs("HttpStatus", "200", "HttpHeader:Content-Length", "7", "HttpHeader:Content-Length", "7"),
			headpolicy.Response{Status: 200, Length: 7},
			header{"Content-Length": {"7"}},
		},
		"two lengths": {
			pairs("HttpStatus", "200", "HttpHeader:Content-Length", "7", "HttpHeader:Content-Length", "8"),
			headpolicy.Response{},
			nil,
		},
		"negative length": {pairs("HttpStatus", "200", "HttpHeader:Content-Length", "-1"), headpolicy.Response{}, nil},
		"chunked wins": {
			pairs("HttpStatus", "200", "HttpHeader:Content-Length", "7", "HttpHeader:transfer-encoding", "chunked"),
			headpolicy.Response{Status: 200, Length: -1},
			header{},
		},
		"bad name": {
			pairs("HttpStatus", "200", "HttpHeader:a b", "1", "HttpHeader:", "1"),
			headpolicy.Response{Status: 200, Length: -1},
			header{},
		},
		"bad value": {
			pairs("HttpStatus", "200", "HttpHeader:A", "1\r\nSet-Cookie: x=1"),
			headpolicy.Response{Status: 200, Length: -1},
			header{},
		},
		"named in Connection": {
			pairs("HttpStatus", "200", "HttpHeader:X-Hop", "1", "HttpHeader:connection", "close, x-hop", "HttpHeader:B", "1"),
			headpolicy.Response{Status: 200, Length: -1},
			header{"B": {"1"}},
		},
		"reserved": {
			pairs("HttpStatus", "200", "HttpHeader:cf-int-x", "1", "HttpHeader:CF-Cloudflared-Y", "1", "HttpHeader:Cf-Ray", "z"),
			headpolicy.Response{Status: 200, Length: -1},
			header{"Cf-Ray": {"z"}},
		},
		"no status":        {pairs("HttpHeader:A", "1"), headpolicy.Response{}, nil},
		"informational":    {pairs("HttpStatus", "103"), headpolicy.Response{Status: 103, Length: -1}, header{}},
		"huge status":      {pairs("HttpStatus", "1000"), headpolicy.Response{}, nil},
		"status is a word": {pairs("HttpStatus", "OK"), headpolicy.Response{}, nil},
	} {
		h := make(header)
		got, err := headpolicy.ParseResponse(h, c.md, httpfield.DefaultLimits())
		if c.want == (headpolicy.Response{}) {
			if !errors.Is(err, headpolicy.ErrResponse) {
				t.Errorf("%s: %+v, %v; want ErrResponse", name, got, err)
			}
			continue
		}
		if err != nil || got != c.want {
			t.Errorf("%s: %+v, %v; want %+v", name, got, err, c.want)
		}
		if diff := cmp.Diff(c.h, h); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func TestTrailers(t *testing.T) {
	t.Parallel()
	request := header{"X-Sum": {"1", "2"}, "Content-Length": {"3"}, "Cf-Worker": {"x"}, "Bad Name": {"x"}}
	if got := headpolicy.TrailerNames(request); got != "X-Sum" {
		t.Errorf("TrailerNames = %q", got)
	}
	frame, err := headpolicy.AppendTrailers(nil, request, httpfield.DefaultLimits())
	var d stream.Deframer
	if _, serr := d.Strip(frame); err != nil || serr != nil || !slices.Equal(d.Trailers(), pairs("X-Sum", "1", "X-Sum", "2")) {
		t.Errorf("AppendTrailers = %q, %v, %v", frame, err, serr)
	}
	if frame, err := headpolicy.AppendTrailers(nil, nil, httpfield.DefaultLimits()); len(frame) > 0 || err != nil {
		t.Errorf("AppendTrailers of nothing = %q, %v", frame, err)
	}
	h := header{"X-Sum": {"early"}}
	names := headpolicy.AnnounceTrailers(h, pairs("HttpHeader:trailer", "x-sum, Content-Length, a b"))
	if err := headpolicy.SetTrailers(h, names, pairs("x-sum", "1", "x-more", "2", "Set-Cookie", "3", "X-Bad", "\n"), "Trailer:",
		httpfield.DefaultLimits()); err != nil {
		t.Error(err)
	}
	if diff := cmp.Diff(header{"Trailer": {"X-Sum"}, "X-Sum": {"1"}, "Trailer:X-More": {"2"}}, h); diff != "" {
		t.Errorf("response trailers (-want +got):\n%s", diff)
	}
}

func TestPasses(t *testing.T) {
	t.Parallel()
	if got := headpolicy.Passes(header{"Cdn-Loop": {"me, other", "ME, me ,me2"}}, "me"); got != 2 {
		t.Errorf("Passes = %d, want 2", got)
	}
}

// FuzzParseResponse checks that for all input from a connector a visitor's header has no field that could end it or that belongs
// to one hop.
func FuzzParseResponse(f *testing.F) {
	f.Add("200", "Content-Length", "7", "x-hop")
	f.Add("200", "transfer_encoding", "a\r\n", "Connection")
	f.Fuzz(func(t *testing.T, status, name, val, connection string) {
		h := make(header)
		md := pairs("HttpStatus", status, stream.HeaderPrefix+name, val, "HttpHeader:Connection", connection)
		if _, err := headpolicy.ParseResponse(h, md, httpfield.DefaultLimits()); err != nil {
			return
		}
		for name, values := range h {
			if !httpfield.IsToken(name) || !httpfield.IsValue(values[0]) || httpfield.IsHopByHop(name) || httpfield.IsReservedInResponse(name) {
				t.Errorf("%q: %q passed", name, values)
			}
		}
	})
}
