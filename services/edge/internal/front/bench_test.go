package front_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/culvert-tunnel/culvert/pkg/testkit"
	"github.com/culvert-tunnel/culvert/pkg/transport"
	"github.com/culvert-tunnel/culvert/pkg/transport/mem"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
	"github.com/culvert-tunnel/culvert/pkg/wire/stream"
	"github.com/culvert-tunnel/culvert/services/edge/internal/front"
	"github.com/culvert-tunnel/culvert/services/edge/internal/registry"
	"github.com/culvert-tunnel/culvert/services/edge/internal/route"
)

type everyHost struct{}

func (everyHost) Lookup(string) (route.Entry, bool) {
	return route.Entry{Pattern: "*", Tunnel: tunnel.ID{1}}, true
}

// startFront serves on loopback; a connector in memory sends size bytes in response to every request.
func startFront(b *testing.B, size int) *front.Front {
	b.Helper()
	near, far := mem.Pair(context.Background())
	table := registry.NewTable()
	info := registry.Info{Slot: tunnel.Slot{Tunnel: tunnel.ID{1}}, Protocol: tunnel.QUIC}
	if err := table.Register(registry.NewConn(info, near)); err != nil {
		b.Fatal(err)
	}
	body := make([]byte, size)
	resp := stream.Response{Metadata: []stream.Pair{
		{Key: stream.KeyStatus, Val: "200"},
		{Key: stream.HeaderPrefix + "Content-Type", Val: "text/plain"},
		{Key: stream.HeaderPrefix + "Content-Length", Val: fmt.Sprint(size)},
		{Key: stream.HeaderPrefix + "Server", Val: "bench"},
	}}
	head, err := resp.Append(nil)
	if err != nil {
		b.Fatal(err)
	}
	go func() {
		for {
			st, err := far.AcceptStream(context.Background())
			if err != nil {
				return
			}
			go serveStream(st, head, body)
		}
	}()
	f, err := front.New(front.Config{
		HTTP: testkit.Loopback(0), Location: "bench", ResponseHeaderTimeout: 100 * time.Second,
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       time.Minute, BodyIdleTimeout: time.Minute, DrainTimeout: time.Second, HalfCloseTimeout: time.Minute,
		Limits: front.Limits{
			Connections: 1000, WebSockets: 10, Streams: 250, HeaderFields: 256, HeaderBytes: 128 << 10, TargetBytes: 16 << 10,
			ConnectionHeaderBytes: 4 << 20,
		},
	}, front.Deps{Routes: everyHost{}, Conns: table, Logger: slog.New(slog.DiscardHandler), Registerer: prometheus.NewRegistry()})
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- f.Run(ctx) }()
	b.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			b.Error(err)
		}
		_ = near.CloseWithError(0, "")
	})
	return f
}

func serveStream(st transport.Stream, head, body []byte) {
	buf := make([]byte, 4<<10)
	for {
		if _, err := st.Read(buf); err != nil {
			break
		}
	}
	_, _ = st.Write(head)
	_, _ = st.Write(body)
	_ = st.CloseWrite()
}

func BenchmarkGet(b *testing.B) {
	for _, proto := range []string{"http1", "h2c"} {
		for _, size := range []int{100, 1 << 20} {
			b.Run(fmt.Sprintf("%s/%d", proto, size), func(b *testing.B) {
				f := startFront(b, size)
				var p http.Protocols
				p.SetHTTP1(proto == "http1")
				p.SetUnencryptedHTTP2(proto == "h2c")
				client := &http.Client{Transport: &http.Transport{Protocols: &p, DisableCompression: true}}
				defer client.CloseIdleConnections()
				url := "http://" + f.Addr().String() + "/some/path?with=a&query=string"
				header := http.Header{
					"Accept": {"text/html,application/xhtml+xml"}, "Accept-Language": {"en"}, "Cookie": {"session=0123456789abcdef"},
					"User-Agent": {"Mozilla/5.0 (X11; Linux x86_64) bench"}, "Cache-Control": {"no-cache"}, "X-Custom": {"value"},
				}
				b.ReportAllocs()
				b.SetBytes(int64(size))
				for b.Loop() {
					req, err := http.NewRequestWithContext(b.Context(), http.MethodGet, url, nil)
					if err != nil {
						b.Fatal(err)
					}
					req.Header = header
					resp, err := client.Do(req)
					if err != nil {
						b.Fatal(err)
					}
					if n, err := io.Copy(io.Discard, resp.Body); err != nil || n != int64(size) {
						b.Fatal(n, err)
					}
					_ = resp.Body.Close()
				}
			})
		}
	}
}
