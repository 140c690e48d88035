package flow

import (
	"context"
	"log/slog"
	"net/http"
	"strconv"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/logkey"
	"github.com/culvert-tunnel/culvert/pkg/wire/stream"
)

// managementRule is the number of the rule for the management host in log lines, as in the reference (docs/spec/lifecycle.md 10.6).
const managementRule = -1

// logRequest writes the line about a request. The caller has found that somebody reads it. Loggers mask the values of fields whose names
// say that they are secret.
func (x *flowState) logRequest(ctx context.Context, p *parsed) {
	target := p.raw
	if p.asks {
		target += "?" + p.query
	}
	attrs := append(x.attrs(),
		slog.String(logkey.Method, p.method), slog.String(logkey.URL, requestScheme(p)+p.host+target), slog.String(logkey.Host, p.host),
		slog.String(logkey.Path, p.path), slog.Int64(logkey.Bytes, p.length), slog.Any(logkey.Headers, map[string][]string(p.header)))
	if x.ray = p.header.Get("Cf-Ray"); x.ray != "" {
		attrs = append(attrs, slog.String(logkey.RequestID, x.ray))
	}
	x.log.LogAttrs(ctx, slog.LevelDebug, "request received", attrs...)
}

// typeName is the name of a stream's type in log lines, that of the reference.
func typeName(t stream.Type) string {
	switch t {
	case stream.WebSocket:
		return "ws"
	case stream.TCP:
		return "tcp"
	default:
		return "http"
	}
}

// logStart writes the line about a stream of a private network that begins. The caller has found that somebody reads it.
func (x *flowState) logStart(ctx context.Context) {
	attrs := append(x.attrs(), slog.String(logkey.Dest, x.req.Dest))
	if id := x.metadata(keyFlowID); id != "" {
		attrs = append(attrs, slog.String(logkey.FlowID, id))
	}
	x.log.LogAttrs(ctx, slog.LevelDebug, "stream begins", attrs...)
}

// requestScheme is the scheme of the visitor's request, as the edge says it.
func requestScheme(p *parsed) string {
	if p.header.Get("X-Forwarded-Proto") == "http" {
		return "http://"
	}
	return "https://"
}

// logResponse writes the line about the head of a response. length is its Content-Length, or "".
func (x *flowState) logResponse(ctx context.Context, status int, length string) {
	n, err := strconv.ParseInt(length, 10, 64)
	if err != nil {
		n = unknownLength
	}
	attrs := append(x.attrs(), slog.Int(logkey.Status, status), slog.String(logkey.Reason, http.StatusText(status)),
		slog.Int64(logkey.Bytes, n), slog.Duration(logkey.Took, time.Since(x.began)))
	if x.ray != "" {
		attrs = append(attrs, slog.String(logkey.RequestID, x.ray))
	}
	x.log.LogAttrs(ctx, slog.LevelDebug, "response received", attrs...)
}
