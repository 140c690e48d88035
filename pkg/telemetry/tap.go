package telemetry

import (
	"context"
	"crypto/rand"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/culvert-tunnel/culvert/pkg/management"
)

// Listener gets the records of a process while it is attached to its Tap. Its methods are called by whoever logs: they must neither
// wait nor log.
type Listener interface {
	// Wants reports whether a record of this level and kind would be taken now. What it declines for lack of room it counts itself:
	// the record is then never made.
	Wants(level slog.Level, event management.Event) bool
	// Take gets a record with all attributes of its logger. They may hold secrets, and may refer to memory that is used again later.
	Take(r slog.Record, event management.Event)
}

// Tap is a place in the logger of a process where others can listen, at all levels, whatever level is written. While nobody listens it
// costs one atomic load for each line that is not written.
type Tap struct {
	id        string
	mu        sync.Mutex // held while listeners are replaced
	listeners atomic.Pointer[[]Listener]
}

// Tapped gives a logger that writes as the given one does, and that others can listen to: TapOf finds the tap of it and of the loggers
// made from it.
func Tapped(l *slog.Logger) *slog.Logger {
	return slog.New(&tapHandler{next: l.Handler(), tap: &Tap{id: rand.Text()}})
}

// TapOf is the tap of a logger, or nil when it has none.
func TapOf(l *slog.Logger) *Tap {
	if h, ok := l.Handler().(*tapHandler); ok {
		return h.tap
	}
	return nil
}

// ID is the name of this tap among those of all processes.
func (t *Tap) ID() string { return t.id }

// ForEvent gives a logger for lines of one kind. Only listeners see the kind; without it a line is of kind management.Connector.
func ForEvent(l *slog.Logger, event management.Event) *slog.Logger {
	h, ok := l.Handler().(*tapHandler)
	if !ok {
		return l
	}
	c := *h
	c.event = event
	return slog.New(&c)
}

// Listen attaches a listener until stop is called. A record may still reach it while stop runs, and none after.
func (t *Tap) Listen(l Listener) (stop func()) {
	t.change(func(all []Listener) []Listener { return append(all, l) })
	return sync.OnceFunc(func() {
		t.change(func(all []Listener) []Listener {
			return slices.DeleteFunc(all, func(other Listener) bool { return other == l })
		})
	})
}

// change replaces the list; an empty one becomes nil, which is what the loggers test.
func (t *Tap) change(f func([]Listener) []Listener) {
	t.mu.Lock()
	defer t.mu.Unlock()
	var all []Listener
	if old := t.listeners.Load(); old != nil {
		all = slices.Clone(*old)
	}
	if all = f(all); len(all) == 0 {
		t.listeners.Store(nil)
		return
	}
	t.listeners.Store(&all)
}

// tapHandler passes records on to the next handler and to the listeners.
type tapHandler struct {
	next  slog.Handler
	tap   *Tap
	event management.Event
	// attrs are those of the logger, within the groups that were open when they were added; groups are the open ones.
	attrs  []slog.Attr
	groups []string
}

// Enabled reports whether the record will be written, or is wanted by a listener.
func (h *tapHandler) Enabled(ctx context.Context, level slog.Level) bool {
	if h.next.Enabled(ctx, level) {
		return true
	}
	listeners := h.tap.listeners.Load()
	return listeners != nil && slices.ContainsFunc(*listeners, func(l Listener) bool { return l.Wants(level, h.event) })
}

// Handle writes the record if its level is written, and gives it to the listeners.
func (h *tapHandler) Handle(ctx context.Context, r slog.Record) error {
	if listeners := h.tap.listeners.Load(); listeners != nil {
		full := h.full(r)
		for _, l := range *listeners {
			l.Take(full, h.event)
		}
	}
	if !h.next.Enabled(ctx, r.Level) {
		return nil
	}
	return h.next.Handle(ctx, r)
}

// full is the record with the attributes of its logger.
func (h *tapHandler) full(r slog.Record) slog.Record {
	if len(h.attrs) == 0 && len(h.groups) == 0 {
		return r
	}
	out := slog.NewRecord(r.Time, r.Level, r.Message, r.PC)
	out.AddAttrs(h.attrs...)
	own := make([]slog.Attr, 0, r.NumAttrs())
	r.Attrs(func(a slog.Attr) bool {
		own = append(own, a)
		return true
	})
	out.AddAttrs(within(h.groups, own)...)
	return out
}

// within puts attributes into groups, the first of which is the outermost.
func within(groups []string, attrs []slog.Attr) []slog.Attr {
	for _, name := range slices.Backward(groups) {
		attrs = []slog.Attr{{Key: name, Value: slog.GroupValue(attrs...)}} //nolint:sloglint // a name that its logger was given
	}
	return attrs
}

// WithAttrs adds attributes to the logger.
func (h *tapHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	c := *h
	c.next = h.next.WithAttrs(attrs)
	c.attrs = append(h.attrs[:len(h.attrs):len(h.attrs)], within(h.groups, attrs)...)
	return &c
}

// WithGroup opens a group.
func (h *tapHandler) WithGroup(name string) slog.Handler {
	if name == "" {
		return h
	}
	c := *h
	c.next = h.next.WithGroup(name)
	c.groups = append(h.groups[:len(h.groups):len(h.groups)], name)
	return &c
}
