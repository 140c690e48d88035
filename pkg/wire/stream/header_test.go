package stream_test

import (
	"testing"

	"github.com/culvert-tunnel/culvert/pkg/wire/stream"
)

func TestHeaderKeys(t *testing.T) {
	for _, tt := range []struct{ name, key, canonical, lower string }{
		{"content-type", "HttpHeader:Content-Type", "Content-Type", "content-type"},
		{"Content-Type", "HttpHeader:Content-Type", "Content-Type", "content-type"},
		{"CONTENT-TYPE", "HttpHeader:Content-Type", "Content-Type", "content-type"},
		{"x-unusual_name", "HttpHeader:X-Unusual_name", "X-Unusual_name", "x-unusual_name"},
	} {
		key := stream.HeaderKey(tt.name)
		if key != tt.key {
			t.Errorf("HeaderKey(%q) = %q, want %q", tt.name, key, tt.key)
		}
		if got, ok := stream.HeaderName(key); got != tt.canonical || !ok {
			t.Errorf("HeaderName(%q) = %q, %v, want %q", key, got, ok, tt.canonical)
		}
		if got, ok := stream.LowerHeaderName(key); got != tt.lower || !ok {
			t.Errorf("LowerHeaderName(%q) = %q, %v, want %q", key, got, ok, tt.lower)
		}
		if !stream.IsHeader(key, tt.name) || stream.IsHeader(key, tt.name+"x") || stream.IsHeader(tt.name, tt.name) {
			t.Errorf("IsHeader(%q, %q) is wrong", key, tt.name)
		}
	}
	if got, ok := stream.HeaderName("HttpHeader:content-TYPE"); got != "Content-Type" || !ok {
		t.Errorf("HeaderName of an unusual spelling = %q, %v", got, ok)
	}
	for _, key := range []string{"", "Content-Type", "content-type", "HttpHeader:", "HttpHeader:a b", "HttpHeader:a:b", "HttpStatus"} {
		if got, ok := stream.HeaderName(key); ok {
			t.Errorf("HeaderName(%q) = %q, but that is no header field", key, got)
		}
		if got, ok := stream.LowerHeaderName(key); ok {
			t.Errorf("LowerHeaderName(%q) = %q, but that is no header field", key, got)
		}
	}
}

func TestCommonHeaderKeysCostNoAllocation(t *testing.T) {
	if n := testing.AllocsPerRun(100, func() {
		for _, name := range []string{"accept", "Accept", "content-length", "X-Forwarded-For"} {
			key := stream.HeaderKey(name)
			_, _ = stream.HeaderName(key)
			_, _ = stream.LowerHeaderName(key)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
