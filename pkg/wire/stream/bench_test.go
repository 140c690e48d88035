package stream_test

import (
	"testing"

	"github.com/culvert-tunnel/culvert/pkg/wire/stream"
)

func typicalRequest() stream.Request {
	return stream.Request{Dest: "http://app.example.com/p/a?q=1", Metadata: []stream.Pair{
		{Key: stream.KeyMethod, Val: "GET"},
		{Key: stream.KeyHost, Val: "app.example.com"},
		{Key: stream.HeaderPrefix + "Accept", Val: "*/*"},
		{Key: stream.HeaderPrefix + "Accept-Encoding", Val: "gzip, br"},
		{Key: stream.HeaderPrefix + "Accept-Language", Val: "en-GB,en;q=0.5"},
		{Key: stream.HeaderPrefix + "Cf-Connecting-Ip", Val: "203.0.113.9"},
		{Key: stream.HeaderPrefix + "Cf-Ray", Val: "8f0c3d2e1b4a5c6d-LIS"},
		{Key: stream.HeaderPrefix + "Cookie", Val: "session=0123456789abcdef0123456789abcdef"},
		{Key: stream.HeaderPrefix + "Referer", Val: "https://app.example.com/"},
		{Key: stream.HeaderPrefix + "User-Agent", Val: "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"},
		{Key: stream.HeaderPrefix + "X-Forwarded-For", Val: "203.0.113.9"},
		{Key: stream.HeaderPrefix + "X-Forwarded-Proto", Val: "https"},
	}}
}

// maxParseAllocs is one string for the message and one array of pairs.
const maxParseAllocs = 2

func TestAllocations(t *testing.T) {
	want := typicalRequest()
	b := mustAppend(t, want)
	buf := make([]byte, 0, 2*len(b))
	if n := testing.AllocsPerRun(100, func() { _, _ = want.Append(buf) }); n != 0 {
		t.Errorf("Append into a large enough buffer allocates %v times, want 0", n)
	}
	if n := testing.AllocsPerRun(100, func() {
		var r stream.Request
		_, _ = stream.ParseRequest(b, &r)
	}); n > maxParseAllocs {
		t.Errorf("ParseRequest allocates %v times, want at most %d", n, maxParseAllocs)
	}
}

func BenchmarkAppendRequest(b *testing.B) {
	r := typicalRequest()
	buf := make([]byte, 0, 4096)
	b.ReportAllocs()
	for b.Loop() {
		out, err := r.Append(buf)
		if err != nil {
			b.Fatal(err)
		}
		buf = out[:0]
	}
}

func BenchmarkParseRequest(b *testing.B) {
	in := mustAppend(b, typicalRequest())
	b.ReportAllocs()
	b.SetBytes(int64(len(in)))
	for b.Loop() {
		var r stream.Request
		if _, err := stream.ParseRequest(in, &r); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkParseRequestReuse(b *testing.B) {
	in := mustAppend(b, typicalRequest())
	var r stream.Request
	b.ReportAllocs()
	b.SetBytes(int64(len(in)))
	for b.Loop() {
		if _, err := stream.ParseRequest(in, &r); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkLibraryParseRequest(b *testing.B) {
	in := mustAppend(b, typicalRequest())
	b.ReportAllocs()
	b.SetBytes(int64(len(in)))
	for b.Loop() {
		if _, err := libraryParseRequest(in); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkAppendResponse(b *testing.B) {
	r := stream.Response{Metadata: append([]stream.Pair{{Key: stream.KeyStatus, Val: "200"}}, typicalRequest().Metadata[2:]...)}
	buf := make([]byte, 0, 4096)
	b.ReportAllocs()
	for b.Loop() {
		out, err := r.Append(buf)
		if err != nil {
			b.Fatal(err)
		}
		buf = out[:0]
	}
}

func BenchmarkParseResponse(b *testing.B) {
	r := stream.Response{Metadata: append([]stream.Pair{{Key: stream.KeyStatus, Val: "200"}}, typicalRequest().Metadata[2:]...)}
	in, err := r.Append(nil)
	must(b, err)
	b.ReportAllocs()
	for b.Loop() {
		var r stream.Response
		if _, err := stream.ParseResponse(in, &r); err != nil {
			b.Fatal(err)
		}
	}
}
