package logtail

import (
	"log/slog"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/logkey"
	"github.com/culvert-tunnel/culvert/pkg/management"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

// Queue holds the lines that wait for a client. It is a telemetry.Listener. When it is full the newest lines are dropped and counted.
type Queue struct {
	tunnel  tunnel.ID
	filters management.Filters
	process string // "" adds no field
	lines   chan []byte
	dropped atomic.Uint64
}

// NewQueue makes a queue for the lines of a tunnel that pass the filters. process, when not empty, is a field of every line.
func NewQueue(id tunnel.ID, filters management.Filters, process string) *Queue {
	return &Queue{tunnel: id, filters: filters, process: process, lines: make(chan []byte, management.Window)}
}

// Messages gives the lines, each as a message to the client.
func (q *Queue) Messages() <-chan []byte { return q.lines }

// Wants declines lines about requests and streams that the filters exclude, or for which there is no room. Other lines are rare, and their
// level is known only when they are translated.
func (q *Queue) Wants(level slog.Level, event management.Event) bool {
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
func (q *Queue) Take(r slog.Record, event management.Event) {
	if event != management.Connector && (!q.filters.Wants(event) || levelOf(r.Level) < q.filters.Level) {
		return
	}
	// The sample comes before the translation, which costs much more than all the rest.
	if !q.filters.Sampled(rand.Float64()) || isAboutOther(r, q.tunnel) { //nolint:gosec // a sample needs no secrecy
		return
	}
	for _, line := range translate(r, event) {
		if q.filters.Pass(line.Level, line.Event) {
			q.put(line)
		}
	}
}

// Batch gives first and the messages that wait behind it, at most management.Window of them.
func (q *Queue) Batch(first []byte) [][]byte {
	batch := [][]byte{first}
	for len(batch) < management.Window {
		select {
		case next := <-q.lines:
			batch = append(batch, next)
			continue
		default:
		}
		break
	}
	return batch
}

// Forward puts the lines of a message of another process in the queue; a message of another kind is dropped.
func (q *Queue) Forward(message []byte) {
	m, err := management.ParseLogs(message)
	if err != nil {
		return
	}
	for _, line := range m.Logs {
		q.put(line)
	}
}

func (q *Queue) put(line management.Line) {
	if len(q.lines) == cap(q.lines) {
		q.dropped.Add(1)
		return
	}
	if q.process != "" {
		if line.Fields == nil {
			line.Fields = make(map[string]any, 1)
		}
		line.Fields["process"] = q.process
	}
	select {
	case q.lines <- line.Encode():
	default:
		q.dropped.Add(1)
	}
}

// Drops makes a message about the lines that were dropped since the last one, or nil.
func (q *Queue) Drops(now time.Time) []byte {
	n := q.dropped.Swap(0)
	if n == 0 {
		return nil
	}
	return management.Line{
		Time: management.TimeText(now), Level: management.Warn, Message: "log lines were dropped because there are more than the stream takes",
		Fields: map[string]any{"dropped": n},
	}.Encode()
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
