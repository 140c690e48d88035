package httpfield_test

import (
	"errors"
	"net/textproto"
	"slices"
	"strings"
	"testing"

	"github.com/culvert-tunnel/culvert/pkg/wire/httpfield"
)

func TestCommonNamesAreCanonical(t *testing.T) {
	seen := make(map[string]bool)
	for name := range httpfield.Common {
		if want := textproto.CanonicalMIMEHeaderKey(name); name != want {
			t.Errorf("common name %q is not canonical, want %q", name, want)
		}
		if seen[name] {
			t.Errorf("common name %q is listed twice", name)
		}
		seen[name] = true
	}
}

func TestCanonicalAndLower(t *testing.T) {
	for _, tt := range []struct{ name, canonical, lower string }{
		{"", "", ""},
		{"content-type", "Content-Type", "content-type"},
		{"CONTENT-TYPE", "Content-Type", "content-type"},
		{"Content-Type", "Content-Type", "content-type"},
		{"x--y_Z-1a", "X--Y_z-1a", "x--y_z-1a"},
		{"not a token", "not a token", "not a token"},
		{"Not A Token", "Not A Token", "not a token"},
		{"ÄB", "ÄB", "Äb"},
	} {
		if got := httpfield.Canonical(tt.name); got != tt.canonical {
			t.Errorf("Canonical(%q) = %q, want %q", tt.name, got, tt.canonical)
		}
		if got := httpfield.Lower(tt.name); got != tt.lower {
			t.Errorf("Lower(%q) = %q, want %q", tt.name, got, tt.lower)
		}
	}
}

func TestHopByHop(t *testing.T) {
	hop := []string{
		"Connection", "Proxy-Connection", "Keep-Alive", "Te", "Trailer", "Transfer-Encoding", "Upgrade", "Http2-Settings",
		"Proxy-Authenticate", "Proxy-Authorization", "Proxy-Authentication-Info",
	}
	// Names that HTTP/2 cannot carry, but that are not hop-by-hop, and the other way round.
	forbidden := []string{"Connection", "Proxy-Connection", "Keep-Alive", "Transfer-Encoding", "Upgrade", "Http2-Settings", "Host"}
	others := []string{
		"", "T", "Tea", "Trailers", "Date", "Accept", "Connections", "X-Connection", "Content-Length", "Authorization", "Keep-Alives", "Upgrades",
	}
	for _, name := range slices.Concat(hop, forbidden, others) {
		for _, spelled := range spellings(name) {
			if got, want := httpfield.IsHopByHop(spelled), slices.Contains(hop, name); got != want {
				t.Errorf("IsHopByHop(%q) = %v, want %v", spelled, got, want)
			}
			if got, want := httpfield.IsConnectionSpecific(spelled), slices.Contains(forbidden, name); got != want {
				t.Errorf("IsConnectionSpecific(%q) = %v, want %v", spelled, got, want)
			}
		}
	}
}

// spellings are the ways in which a name may be written and still reach an application as the same variable.
func spellings(name string) []string {
	under := strings.ReplaceAll(name, "-", "_")
	return []string{name, strings.ToLower(name), strings.ToUpper(name), under, strings.ToLower(under)}
}

func TestReserved(t *testing.T) {
	for _, tt := range []struct {
		name              string
		request, response bool
	}{
		{"Culvert-Error", true, true},
		{"Culvert-", true, true},
		{"CulvertAccept", true, true},
		{"CulvertBody", true, true},
		{"CulvertClient", true, true},
		{"Culvertine", false, false},
		{"Cf-Cloudflared-Response-Meta", true, true},
		{"Cf-Warp-Tag-Id", true, false},
		{"Cf-Trace-Id", true, false},
		{"Cf-Trace-Ids", false, false},
		{"Cf-Int-Cloudflared-Tracing", false, true},
		{"Cf-Proxy-X", false, true},
		{"Cf-Ray", false, false},
		{"Cf", false, false},
		{"X-Cf-Int-", false, false},
	} {
		for _, spelled := range spellings(tt.name) {
			if got := httpfield.IsReservedInRequest(spelled); got != tt.request {
				t.Errorf("IsReservedInRequest(%q) = %v", spelled, got)
			}
			if got := httpfield.IsReservedInResponse(spelled); got != tt.response {
				t.Errorf("IsReservedInResponse(%q) = %v", spelled, got)
			}
		}
	}
}

func TestNamed(t *testing.T) {
	for _, tt := range []struct {
		connection []string
		name       string
		want       bool
	}{
		{nil, "X-Hop", false},
		{[]string{"close, x-hop"}, "X-Hop", true},
		{[]string{"close", " ,\tX-HOP ,"}, "x-hop", true},
		{[]string{"x-hops"}, "X-Hop", false},
		{[]string{"x_hop"}, "X-Hop", false},
		{[]string{"x_hop"}, "X_Hop", true},
		{[]string{"x-hop;q=1"}, "X-Hop", false},
		{[]string{"content-length, host, te, via, forwarded, cdn-loop"}, "Content-Length", false},
		{[]string{"content-length, host, te, via, forwarded, cdn-loop"}, "Host", false},
		{[]string{"content-length, host, te, via, forwarded, cdn-loop"}, "Te", false},
		{[]string{"content-length, host, te, via, forwarded, cdn-loop"}, "Via", false},
		{[]string{"content-length, host, te, via, forwarded, cdn-loop"}, "Forwarded", false},
		{[]string{"content-length, host, te, via, forwarded, cdn-loop"}, "Cdn-Loop", false},
		{[]string{"cf-connecting-ip, x-forwarded-for"}, "Cf-Connecting-Ip", false},
		{[]string{"cf-connecting-ip, x-forwarded-for"}, "X-Forwarded-For", false},
		{[]string{"x_forwarded_for"}, "X_Forwarded_For", false},
		{[]string{"\u212aeep"}, "Keep", false}, // the Kelvin sign
	} {
		if got := httpfield.IsNamed(tt.connection, tt.name); got != tt.want {
			t.Errorf("IsNamed(%q, %q) = %v", tt.connection, tt.name, got)
		}
	}
}

func TestTrailerNames(t *testing.T) {
	for _, name := range []string{"Grpc-Status", "X-Checksum", "Etag", "Server-Timing", "Iffy", "Digest"} {
		if !httpfield.IsTrailer(name) {
			t.Errorf("IsTrailer(%q) = false", name)
		}
	}
	for _, name := range []string{
		"Content-Length", "Transfer-Encoding", "Trailer", "Te", "Host", "Authorization", "Set-Cookie", "Cookie", "If-Match", "Range",
		"Content-Type", "Connection", "Cf-Int-X", "Cf-Warp-Tag-X", "Culvert-Body", "Proxy-Authorization", "Max-Forwards", "Expect",
	} {
		for _, spelled := range spellings(name) {
			if httpfield.IsTrailer(spelled) {
				t.Errorf("IsTrailer(%q) = true", spelled)
			}
		}
	}
	for _, name := range []string{"", "no token", "a:b", "a\r\nb"} {
		if httpfield.IsTrailer(name) {
			t.Errorf("IsTrailer(%q) = true, but it is no token", name)
		}
	}
}

func TestItems(t *testing.T) {
	got := slices.Collect(httpfield.Items(" a,,\tb ,c;q=1, \u00a0d"))
	if want := []string{"a", "b", "c;q=1", "\u00a0d"}; !slices.Equal(got, want) {
		t.Errorf("Items = %q, want %q", got, want)
	}
	for item := range httpfield.Items("a,b") {
		if item != "a" {
			t.Errorf("Items went on to %q after the loop ended", item)
		}
		break
	}
}

func TestParseLength(t *testing.T) {
	for s, want := range map[string]int64{"0": 0, "007": 7, "123": 123, "9223372036854775807": 1<<63 - 1} {
		if got, ok := httpfield.ParseLength(s); !ok || got != want {
			t.Errorf("ParseLength(%q) = %d, %v, want %d", s, got, ok, want)
		}
	}
	for _, s := range []string{"", "-1", "+1", " 1", "1 ", "1,1", "0x1", "1.0", "9223372036854775808", "99999999999999999999", "\u0661"} {
		if got, ok := httpfield.ParseLength([]byte(s)); ok {
			t.Errorf("ParseLength(%q) = %d, true", s, got)
		}
	}
}

func TestMeter(t *testing.T) {
	m := httpfield.Limits{MaxFields: 2, MaxBytes: 100}.Meter()
	if err := m.Add(4, 14); err != nil { // 50 bytes
		t.Errorf("first field: %v", err)
	}
	if err := m.Add(0, 18); err != nil { // exactly 100
		t.Errorf("second field: %v", err)
	}
	err := m.Add(1, 1)
	if !errors.Is(err, httpfield.ErrTooManyFields) || !errors.Is(err, httpfield.ErrLimit) {
		t.Errorf("third field: %v, want ErrTooManyFields", err)
	}
	m = httpfield.Limits{MaxFields: 2, MaxBytes: 100}.Meter()
	if err := m.Add(50, 19); !errors.Is(err, httpfield.ErrTooLarge) || !errors.Is(err, httpfield.ErrLimit) {
		t.Errorf("field of 101 bytes: %v, want ErrTooLarge", err)
	}
	var zero httpfield.Meter
	if zero.Add(0, 0) == nil {
		t.Error("the zero Meter accepted a field")
	}
}

func TestLimits(t *testing.T) {
	l := httpfield.DefaultLimits()
	if l.MaxFields != 256 || l.MaxBytes != 128<<10 || l.Validate() != nil {
		t.Errorf("DefaultLimits() = %+v, %v", l, l.Validate())
	}
	if in := l.BehindEdge(); in.MaxFields <= l.MaxFields || in.MaxBytes <= l.MaxBytes {
		t.Errorf("BehindEdge() = %+v leaves no room", in)
	}
	err := httpfield.Limits{}.Validate()
	if err == nil || !strings.Contains(err.Error(), "max_fields") || !strings.Contains(err.Error(), "max_bytes") {
		t.Errorf("Validate of zero limits: %v, want both named", err)
	}
}

// TestNoAllocations: a request passes all of these for each of its fields.
func TestNoAllocations(t *testing.T) {
	connection := []string{"keep-alive, x-other"}
	if n := testing.AllocsPerRun(100, func() {
		for name := range httpfield.Common {
			_ = httpfield.Canonical(name)
			_ = httpfield.Lower(name)
			_ = httpfield.IsToken(name)
			_ = httpfield.IsHopByHop(name)
			_ = httpfield.IsReservedInRequest(name)
			_ = httpfield.IsReservedInResponse(name)
			_ = httpfield.IsNamed(connection, name)
			_ = httpfield.IsTrailer(name)
		}
		for item := range httpfield.Items("a, b, c") {
			_ = httpfield.IsValue(item)
		}
		_ = httpfield.Canonical("content-type")
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
