package management

import (
	"encoding/json"
	"log/slog"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/logkey"
	"github.com/culvert-tunnel/culvert/pkg/management"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

// queue holds the lines that wait for a client. It is a telemetry.Listener. When it is full the newest lines are dropped and counted.
type queue struct {
	tunnel  tunnel.ID
	filters management.Filters
	lines   chan []byte // messages
	dropped atomic.Uint64
}

func newQueue(id tunnel.ID, filters management.Filters) *queue {
	return &queue{tunnel: id, filters: filters, lines: make(chan []byte, management.Window)}
}

// Wants declines lines about requests and streams that the filters exclude, or for which there is no room. Other lines are rare, and their
// level is known only when they are translated.
func (q *queue) Wants(level slog.Level, event management.Event) bool {
	if event == management.Connector {
		return true
	}
	if !q.filters.Wants(event) || levelOf(level) < q.filters.Level {
		return false
	}
	if len(q.lines) == cap(q.lines) {
		q.dropped.Add(1)
		return false
	}
	return true
}

// Take puts a record in the queue.
func (q *queue) Take(r slog.Record, event management.Event) {
	if event != management.Connector && (!q.filters.Wants(event) || levelOf(r.Level) < q.filters.Level) || isAboutOther(r, q.tunnel) {
		return
	}
	for _, line := range translate(r, event) {
		if q.filters.Pass(line.Level, line.Event, rand.Float64()) { //nolint:gosec // a sample needs no secrecy
			q.put(line)
		}
	}
}

func (q *queue) put(line management.Line) {
	if len(q.lines) == cap(q.lines) {
		q.dropped.Add(1)
		return
	}
	text, err := json.Marshal(management.Logs{Type: management.TypeLogs, Logs: []management.Line{line}})
	if err != nil { // a value that JSON does not have
		line.Fields = nil
		text, _ = json.Marshal(management.Logs{Type: management.TypeLogs, Logs: []management.Line{line}}) // strings and numbers always encode
	}
	select {
	case q.lines <- text:
	default:
		q.dropped.Add(1)
	}
}

// drops makes a message about the lines that were dropped since the last one, or nil.
func (q *queue) drops(now time.Time) []byte {
	n := q.dropped.Swap(0)
	if n == 0 {
		return nil
	}
	text, err := json.Marshal(management.Logs{Type: management.TypeLogs, Logs: []management.Line{{
		Time: management.TimeText(now), Level: management.Warn, Message: "log lines were dropped because there are more than the stream takes",
		Fields: map[string]any{"dropped": n},
	}}})
	if err != nil {
		return nil
	}
	return text
}

// isAboutOther reports whether a record names another tunnel, whose lines are not this client's business.
func isAboutOther(r slog.Record, id tunnel.ID) (other bool) {
	r.Attrs(func(a slog.Attr) bool {
		if a.Key == logkey.TunnelID && a.Value.Kind() == slog.KindString {
			named, err := tunnel.ParseID(a.Value.String())
			other = err == nil && named != id
			return !other
		}
		return true
	})
	return other
}

func levelOf(l slog.Level) management.Level {
	switch {
	case l < slog.LevelInfo:
		return management.Debug
	case l < slog.LevelWarn:
		return management.Info
	case l < slog.LevelError:
		return management.Warn
	}
	return management.Error
}
