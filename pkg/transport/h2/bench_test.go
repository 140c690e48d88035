package h2_test

import (
	"errors"
	"io"
	"sync"
	"testing"

	"github.com/culvert-tunnel/culvert/pkg/transport"
	"github.com/culvert-tunnel/culvert/pkg/transport/h2"
	"github.com/culvert-tunnel/culvert/pkg/wire/stream"
)

// serveEcho writes the response and then bulk bytes on every stream.
func serveEcho(b *testing.B, s *h2.Session, response []byte, bulk int) {
	buffers := sync.Pool{New: func() any { b := make([]byte, 32<<10); return &b }}
	for {
		st, err := s.AcceptStream(b.Context())
		if err != nil {
			return
		}
		go func() {
			buf, _ := buffers.Get().(*[]byte)
			defer buffers.Put(buf)
			for {
				if _, err := st.Read(*buf); errors.Is(err, io.EOF) {
					break
				} else if err != nil {
					return
				}
			}
			if _, err := st.Write(response); err != nil {
				return
			}
			for left := bulk; left > 0; left -= len(*buf) {
				if _, err := st.Write(*buf); err != nil {
					return
				}
			}
			_ = st.CloseWrite()
		}()
	}
}

func benchHeads(b *testing.B, length string) (request, response []byte) {
	b.Helper()
	req := stream.Request{Dest: "http://app.example/path?query", Metadata: []stream.Pair{
		{Key: "HttpMethod", Val: "GET"},
		{Key: "HttpHost", Val: "app.example"},
		{Key: "HttpHeader:Accept", Val: "*/*"},
		{Key: "HttpHeader:User-Agent", Val: "benchmark"},
		{Key: "HttpHeader:Accept-Encoding", Val: "gzip"},
		{Key: "HttpHeader:X-Forwarded-For", Val: "192.0.2.1"},
		{Key: "HttpHeader:X-Forwarded-Proto", Val: "http"},
		{Key: "HttpHeader:Cf-Ray", Val: "0123456789abcdef-local"},
	}}
	resp := stream.Response{Metadata: []stream.Pair{
		{Key: "HttpStatus", Val: "200"},
		{Key: "HttpHeader:Content-Type", Val: "text/plain"},
		{Key: "HttpHeader:Date", Val: "Thu, 01 Jan 1970 00:00:00 GMT"},
		{Key: "HttpHeader:Server", Val: "benchmark"},
		{Key: "HttpHeader:Content-Length", Val: length},
	}}
	var err error
	if request, err = req.Append(nil); err == nil {
		response, err = resp.Append(nil)
	}
	if err != nil {
		b.Fatal(err)
	}
	return request, response
}

func roundTrip(b *testing.B, edge transport.Session, head, buf []byte) int {
	st, err := edge.OpenStream(b.Context())
	if err != nil {
		b.Error(err)
		return 0
	}
	if _, err := st.Write(head); err == nil {
		_ = st.CloseWrite()
	}
	total := 0
	for {
		n, err := st.Read(buf)
		total += n
		if errors.Is(err, io.EOF) {
			return total
		}
		if err != nil {
			b.Error(err)
			return total
		}
	}
}

// BenchmarkSmall is a request without a body and its response of 200 bytes, both ends in one process.
func BenchmarkSmall(b *testing.B) {
	connector, edge := sessions(b, nil)
	control(b, connector, edge)
	head, response := benchHeads(b, "200")
	go serveEcho(b, connector, append(response, make([]byte, 200)...), 0)
	b.Run("one", func(b *testing.B) {
		b.ReportAllocs()
		buf := make([]byte, 32<<10)
		for b.Loop() {
			roundTrip(b, edge, head, buf)
		}
	})
	b.Run("parallel", func(b *testing.B) {
		b.ReportAllocs()
		b.SetParallelism(16)
		b.RunParallel(func(pb *testing.PB) {
			buf := make([]byte, 32<<10)
			for pb.Next() {
				roundTrip(b, edge, head, buf)
			}
		})
	})
}

// BenchmarkBulk is a response of 16 MiB.
func BenchmarkBulk(b *testing.B) {
	const size = 16 << 20
	connector, edge := sessions(b, nil)
	control(b, connector, edge)
	head, response := benchHeads(b, "16777216")
	go serveEcho(b, connector, response, size)
	b.ReportAllocs()
	b.SetBytes(size)
	buf := make([]byte, 32<<10)
	for b.Loop() {
		if n := roundTrip(b, edge, head, buf); n < size {
			b.Fatalf("%d bytes", n)
		}
	}
}
