package stocklog

import (
	"context"
	"io"
	"log/slog"
	"sync"

	"github.com/culvert-tunnel/culvert/pkg/logkey"
)

// transportPart is the part of a connector whose lines may be about the transport.
const transportPart = "conn-worker"

// Levels are the lowest levels that are written.
type Levels struct {
	// Lines is the level of all lines but those about the transport, which have a level of their own.
	Lines, Transport slog.Level
}

// Output is one place that lines go to.
type Output struct {
	Writer io.Writer
	Encode Encoder
}

// Handler writes each record as the lines of cloudflared that stand for it. Every line is one call of Write; an output that fails
// does not keep a line from the others. It is safe for concurrent use.
type Handler struct {
	levels  Levels
	outputs []Output
	mu      *sync.Mutex // guards the writers
	attrs   []slog.Attr
	prefix  string
	// transport says that records of this logger may be about the transport.
	transport bool
}

var _ slog.Handler = (*Handler)(nil)

// NewHandler makes a handler that writes to the outputs.
func NewHandler(levels Levels, outputs ...Output) *Handler {
	return &Handler{levels: levels, outputs: outputs, mu: new(sync.Mutex)}
}

// Enabled reports whether a record of the level may lead to a line.
func (h *Handler) Enabled(_ context.Context, level slog.Level) bool {
	return level >= h.levels.Lines || h.transport && level >= h.levels.Transport
}

// Handle writes the lines of a record. It never fails: a log that cannot be written is no reason to stop.
func (h *Handler) Handle(_ context.Context, r slog.Record) error {
	full := slog.NewRecord(r.Time, r.Level, r.Message, 0)
	full.AddAttrs(h.attrs...)
	r.Attrs(func(a slog.Attr) bool {
		full.AddAttrs(h.named(a))
		return true
	})
	var b []byte
	for _, l := range Translate(full) {
		threshold := h.levels.Lines
		if l.Transport {
			threshold = h.levels.Transport
		}
		if l.Level < threshold {
			continue
		}
		h.mu.Lock()
		for _, out := range h.outputs {
			b = out.Encode(b[:0], &l)
			_, _ = out.Writer.Write(b)
		}
		h.mu.Unlock()
	}
	return nil
}

// WithAttrs is the handler with attributes for every record.
func (h *Handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	c := *h
	c.attrs = h.attrs[:len(h.attrs):len(h.attrs)]
	for _, a := range attrs {
		if a.Key == logkey.Part && a.Value.String() == transportPart {
			c.transport = true
		}
		c.attrs = append(c.attrs, h.named(a))
	}
	return &c
}

// WithGroup is the handler with a name before the keys of the attributes to come.
func (h *Handler) WithGroup(name string) slog.Handler {
	c := *h
	if name != "" {
		c.prefix += name + "_"
	}
	return &c
}

func (h *Handler) named(a slog.Attr) slog.Attr {
	a.Key = h.prefix + a.Key
	return a
}
