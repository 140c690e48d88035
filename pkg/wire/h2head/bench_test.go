package h2head_test

import (
	"testing"

	"github.com/culvert-tunnel/culvert/pkg/wire/h2head"
	"github.com/culvert-tunnel/culvert/pkg/wire/httpfield"
	"github.com/culvert-tunnel/culvert/pkg/wire/stream"
)

// BenchmarkHeads maps a usual request and its response both ways.
func BenchmarkHeads(b *testing.B) {
	req := stream.Request{Dest: "http://app.example/path?query", Metadata: []stream.Pair{
		{Key: "HttpMethod", Val: "GET"},
		{Key: "HttpHost", Val: "app.example"},
		{Key: "HttpHeader:Accept", Val: "*/*"},
		{Key: "HttpHeader:User-Agent", Val: "benchmark"},
		{Key: "HttpHeader:Accept-Encoding", Val: "gzip"},
		{Key: "HttpHeader:X-Forwarded-For", Val: "192.0.2.1"},
		{Key: "HttpHeader:X-Forwarded-Proto", Val: "http"},
		{Key: "HttpHeader:X-Custom-Name", Val: "value"},
		{Key: "HttpHeader:Cf-Ray", Val: "0123456789abcdef-local"},
	}}
	fields, sent := h2head.EncodeRequest(nil, &req)
	b.Run("request_encode", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			fields, sent = h2head.EncodeRequest(fields[:0], &req)
		}
	})
	var back stream.Request
	b.Run("request_decode", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			h2head.DecodeRequest(fields, true, &back)
		}
	})
	var enc h2head.ResponseEncoder
	resp := stream.Response{Metadata: []stream.Pair{
		{Key: "HttpStatus", Val: "200"},
		{Key: "HttpHeader:Content-Type", Val: "text/plain"},
		{Key: "HttpHeader:Date", Val: "Thu, 01 Jan 1970 00:00:00 GMT"},
		{Key: "HttpHeader:Server", Val: "benchmark"},
		{Key: "HttpHeader:Content-Length", Val: "200"},
		{Key: "HttpHeader:X-Custom-Name", Val: "value"},
	}}
	b.Run("response_encode", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			_, _ = enc.Encode(&resp, h2head.Received{})
		}
	})
	var decoded stream.Response
	b.Run("response_decode", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			_, _ = h2head.DecodeResponse(enc.Fields, sent, false, httpfield.DefaultLimits(), &decoded)
		}
	})
}
