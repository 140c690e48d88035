package flow_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/culvert-tunnel/culvert/pkg/link"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
	"github.com/culvert-tunnel/culvert/pkg/wire/stream"
)

// cannedStream gives one request and throws the response away.
type cannedStream struct {
	in     []byte
	closed bool
	sent   int
}

func (s *cannedStream) Read(p []byte) (int, error) {
	if len(s.in) == 0 {
		return 0, io.EOF
	}
	n := copy(p, s.in)
	s.in = s.in[n:]
	return n, nil
}

func (s *cannedStream) Write(p []byte) (int, error) { s.sent += len(p); return len(p), nil }
func (s *cannedStream) Buffer(p []byte) error       { s.sent += len(p); return nil }
func (s *cannedStream) CloseWrite() error           { s.closed = true; return nil }
func (s *cannedStream) Abort()                      {}

// request is a small visitor's request as an edge sends it.
func smallRequest(b *testing.B) []byte {
	b.Helper()
	r := stream.Request{Dest: "https://app.example.com/index.html?x=1", Metadata: []stream.Pair{
		{Key: stream.KeyMethod, Val: "GET"}, {Key: stream.KeyHost, Val: "app.example.com"},
	}}
	for _, h := range []string{
		"User-Agent: curl/8", "Accept: */*", "Accept-Encoding: gzip", "Cf-Ray: 8f-LHR",
		"Cf-Connecting-Ip: 203.0.113.9", "X-Forwarded-For: 203.0.113.9", "X-Forwarded-Proto: https", "Cdn-Loop: x",
	} {
		name, value, _ := strings.Cut(h, ": ")
		r.Metadata = append(r.Metadata, stream.Pair{Key: stream.HeaderPrefix + name, Val: value})
	}
	out, err := r.Append(nil)
	if err != nil {
		b.Fatal(err)
	}
	return out
}

// BenchmarkServeStream is one small exchange: all of the proxy without the link. With the loopback origin the figure holds
// the standard library's client and the origin itself; with http_status it is our own share.
func BenchmarkServeStream(b *testing.B) {
	body := []byte(strings.Repeat("x", 200))
	url := httpOrigin(b, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", fmt.Sprint(len(body)))
		_, _ = w.Write(body)
	})
	req := smallRequest(b)
	meta := link.Meta{Connector: tunnel.ConnectorID{1}}
	for _, bc := range []struct {
		name string
		h    link.Handler
	}{
		{"status", serve(b, rules(b, "http_status:204"), nil)},
		{"origin", serve(b, rules(b, url), nil)},
	} {
		b.Run(bc.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				s := &cannedStream{in: req}
				bc.h.ServeStream(b.Context(), meta, s)
				if !s.closed {
					b.Fatal("no whole response")
				}
			}
		})
	}
	b.Run("origin_parallel", func(b *testing.B) {
		h := serve(b, rules(b, url), nil)
		b.ReportAllocs()
		b.SetParallelism(16)
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				s := &cannedStream{in: req}
				h.ServeStream(b.Context(), meta, s)
				if !s.closed {
					b.Error("no whole response")
				}
			}
		})
	})
	b.Run("client_alone", func(b *testing.B) { // the same exchange by the standard library's client only
		tr := &http.Transport{DisableCompression: true}
		defer tr.CloseIdleConnections()
		b.ReportAllocs()
		for b.Loop() {
			r, _ := http.NewRequest(http.MethodGet, url+"/index.html?x=1", http.NoBody)
			res, err := tr.RoundTrip(r)
			if err != nil {
				b.Fatal(err)
			}
			_, _ = io.Copy(io.Discard, res.Body)
			_ = res.Body.Close()
		}
	})
}
