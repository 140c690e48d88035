package logtail_test

import (
	"log/slog"
	"net/http"
	"testing"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/logkey"
	"github.com/culvert-tunnel/culvert/pkg/logtail"
	"github.com/culvert-tunnel/culvert/pkg/management"
	"github.com/culvert-tunnel/culvert/pkg/telemetry"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

// BenchmarkLines is what the two lines of a request cost while a stream is open: in it, dropped because it is full, and not wanted by it.
func BenchmarkLines(b *testing.B) {
	for name, filters := range map[string]management.Filters{
		"sent": {}, "dropped": {}, "excluded": {Events: []management.Event{management.UDP}},
	} {
		b.Run(name, func(b *testing.B) {
			q := logtail.NewQueue(tunnel.ID{1}, filters, "")
			log := telemetry.ForEvent(telemetry.Tapped(slog.New(slog.DiscardHandler)).With(slog.String(logkey.Part, "proxy")), management.HTTP)
			defer telemetry.TapOf(log).Listen(q)()
			b.ReportAllocs()
			for b.Loop() {
				logExchange(b, log)
				for name == "sent" && len(q.Messages()) > 0 {
					<-q.Messages()
				}
			}
		})
	}
}

// logExchange writes the lines that a proxy has for a request of a browser.
func logExchange(b *testing.B, log *slog.Logger) {
	id := tunnel.ID{1}
	attrs := []slog.Attr{
		slog.String(logkey.TunnelID, id.String()), slog.Int(logkey.ConnIndex, 1), slog.Int(logkey.Rule, 0),
		slog.String(logkey.Origin, "http://localhost:8080"),
	}
	if log.Enabled(b.Context(), slog.LevelDebug) {
		log.LogAttrs(b.Context(), slog.LevelDebug, "request received", append(attrs[:len(attrs):len(attrs)],
			slog.String(logkey.Method, "GET"), slog.String(logkey.URL, "https://www.example.com/a/path?with=a&query=b"),
			slog.String(logkey.Host, "www.example.com"), slog.String(logkey.Path, "/a/path"), slog.Int64(logkey.Bytes, 0),
			slog.Any(logkey.Headers, map[string][]string(browserHeader())), slog.String(logkey.RequestID, "0123456789abcdef-LIS"))...)
	}
	if log.Enabled(b.Context(), slog.LevelDebug) {
		log.LogAttrs(b.Context(), slog.LevelDebug, "response received", append(attrs,
			slog.Int(logkey.Status, http.StatusOK), slog.String(logkey.Reason, "OK"), slog.Int64(logkey.Bytes, 200),
			slog.Duration(logkey.Took, time.Millisecond), slog.String(logkey.RequestID, "0123456789abcdef-LIS"))...)
	}
}

func browserHeader() http.Header {
	return http.Header{
		"Accept":            {"text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8"},
		"Accept-Encoding":   {"gzip, br"},
		"Accept-Language":   {"en-GB,en;q=0.7,de;q=0.3"},
		"Cookie":            {"session=0123456789abcdef; theme=dark"},
		"User-Agent":        {"Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"},
		"Cf-Connecting-Ip":  {"198.51.100.7"},
		"Cf-Ray":            {"0123456789abcdef-LIS"},
		"X-Forwarded-For":   {"198.51.100.7"},
		"X-Forwarded-Proto": {"https"},
	}
}
