package httpfield_test

import (
	"net/textproto"
	"strings"
	"testing"

	"golang.org/x/net/http/httpguts"

	"github.com/culvert-tunnel/culvert/pkg/wire/httpfield"
)

// FuzzName compares the rules for names with those of net/http and x/net.
func FuzzName(f *testing.F) {
	for _, s := range []string{
		"", "Host", "content-type", "X_Y", "a b", "a:b", "\u212a", "\u017f", "Te", "transfer_encoding", "If-Match", "If_Match", "Realm", "a\x00",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if got, want := httpfield.IsToken(s), httpguts.ValidHeaderFieldName(s); got != want {
			t.Errorf("IsToken(%q) = %v, httpguts says %v", s, got, want)
		}
		if got, want := httpfield.Canonical(s), textproto.CanonicalMIMEHeaderKey(s); got != want {
			t.Errorf("Canonical(%q) = %q, textproto says %q", s, got, want)
		}
		low := httpfield.Lower(s)
		if httpfield.IsToken(s) && low != strings.ToLower(s) {
			t.Errorf("Lower(%q) = %q", s, low)
		}
		if !httpfield.EqualFold(s, low) || httpfield.Lower(low) != low {
			t.Errorf("Lower(%q) = %q, which is another name", s, low)
		}
		if httpfield.IsTrailer(s) && !httpguts.ValidTrailerHeader(httpfield.Canonical(s)) {
			t.Errorf("IsTrailer(%q), httpguts refuses it", s)
		}
		same := [4]bool{
			httpfield.IsHopByHop(s), httpfield.IsReservedInRequest(s), httpfield.IsReservedInResponse(s), httpfield.IsTrailer(s),
		}
		for _, r := range []string{strings.ReplaceAll(s, "_", "-"), low} {
			if got := [4]bool{
				httpfield.IsHopByHop(r), httpfield.IsReservedInRequest(r), httpfield.IsReservedInResponse(r), httpfield.IsTrailer(r),
			}; got != same {
				t.Errorf("%q is judged as %v, %q as %v", s, same, r, got)
			}
		}
		if httpfield.IsConnectionSpecific(s) && !httpfield.IsHopByHop(s) && !httpfield.EqualFold(s, "host") {
			t.Errorf("HTTP/2 forbids %q, but it is not hop-by-hop", s)
		}
	})
}

// FuzzValue compares the rules for values and lists with those of x/net.
func FuzzValue(f *testing.F) {
	for _, s := range []string{"", "a,b", " close ,\tX", "a\r\nb", "a\x7f", "\u00a0a", "websocket;x", "\u212a", "1234", "-1", "K"} {
		f.Add(s, "x")
	}
	f.Add("x,y", "Y")
	f.Fuzz(func(t *testing.T, s, token string) {
		if got, want := httpfield.IsValue(s), httpguts.ValidHeaderFieldValue(s); got != want {
			t.Errorf("IsValue(%q) = %v, httpguts says %v", s, got, want)
		}
		if httpfield.IsToken(token) {
			want := httpguts.HeaderValuesContainsToken([]string{s}, token)
			if got := httpfield.ListHasToken([]string{s}, token); got != want {
				t.Errorf("ListHasToken(%q, %q) = %v, httpguts says %v", s, token, got, want)
			}
			if got := httpfield.HasToken([]byte(s), token); got != want {
				t.Errorf("HasToken of bytes (%q, %q) = %v", s, token, got)
			}
			found := false
			for item := range httpfield.Items(s) {
				found = found || httpfield.EqualFold(item, token)
			}
			if found != want {
				t.Errorf("Items(%q) has %q: %v, want %v", s, token, found, want)
			}
		}
		if n, ok := httpfield.ParseLength(s); ok && (n < 0 || strings.Trim(s, "0123456789") != "" || s == "") {
			t.Errorf("ParseLength(%q) = %d", s, n)
		}
	})
}
