package api

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/opsapi"
	"github.com/culvert-tunnel/culvert/pkg/redisstore/command"
)

const (
	// maxWatchers bounds the streams of one supervisor.
	maxWatchers = 1000
	// maxBehind is how many events a stream may be behind before it is ended; it goes on from the store when it comes again.
	maxBehind = 64
	// batch is how many events are read at once, lookEvery how often without a hint.
	batch     = 500
	lookEvery = 2 * time.Second
)

// frame is an event as a stream has it. All streams share its bytes.
type frame struct {
	id   string
	text []byte
}

// hub gives each new event to all streams. One loop reads the store for all of them.
type hub struct {
	mu sync.Mutex
	// last is the id of the newest event that was given out, or is too old for any stream.
	last    string
	streams map[*stream]struct{}
	closed  bool
}

// stream is one watcher. frames is closed when the watcher is too slow, or the hub ends.
type stream struct{ frames chan frame }

// join adds a stream; nil when there are too many, or the hub has ended.
func (h *hub) join() *stream {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed || len(h.streams) >= maxWatchers {
		return nil
	}
	if h.streams == nil {
		h.streams = map[*stream]struct{}{}
	}
	s := &stream{frames: make(chan frame, maxBehind)}
	h.streams[s] = struct{}{}
	return s
}

// begin says that everything up to an id is not for the hub: streams that join read it of the store by themselves.
func (h *hub) begin(id string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.last == "" || len(h.streams) <= 1 {
		h.last = id
	}
}

// leave removes a stream. One that was removed already is no error.
func (h *hub) leave(s *stream) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.streams, s)
}

// watched reports whether there is a stream.
func (h *hub) watched() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.streams) > 0
}

func (h *hub) end() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.closed = true
	for s := range h.streams {
		close(s.frames)
	}
	h.streams = nil
}

// give hands events to all streams, the last of which has the id last. It waits for none: one that is too far behind is ended.
func (h *hub) give(frames []frame, last string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.last = last
	for _, f := range frames {
		for s := range h.streams {
			select {
			case s.frames <- f:
			default:
				delete(h.streams, s)
				close(s.frames)
			}
		}
	}
}

// compareIDs orders the ids of entries.
func compareIDs(a, b string) int {
	part := func(id string) (ms, n uint64) {
		left, right, _ := strings.Cut(id, "-")
		ms, _ = strconv.ParseUint(left, 10, 64)
		n, _ = strconv.ParseUint(right, 10, 64)
		return ms, n
	}
	am, an := part(a)
	bm, bn := part(b)
	return cmp.Or(cmp.Compare(am, bm), cmp.Compare(an, bn))
}

// frameOf writes an event as a stream has it.
func frameOf(e opsapi.Event) (frame, bool) {
	b, err := json.Marshal(e)
	if err != nil {
		return frame{}, false
	}
	var text bytes.Buffer
	if e.ID != "" {
		text.WriteString("id: " + e.ID + "\n")
	}
	text.WriteString("event: " + e.Kind + "\ndata: ")
	text.Write(b) // one line: JSON has no line breaks of its own
	text.WriteString("\n\n")
	return frame{id: e.ID, text: text.Bytes()}, true
}

func framesOf(entries []command.Entry) []frame {
	out := make([]frame, 0, len(entries))
	for _, e := range entries {
		if event, ok := eventOf(e); ok { // what cannot be read hides nothing else
			if f, ok := frameOf(event); ok {
				out = append(out, f)
			}
		}
	}
	return out
}

// feed reads new events for the streams until ctx ends. Without a stream it reads nothing.
func (a *API) feed(ctx context.Context, hints <-chan struct{}) {
	defer a.hub.end()
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-hints:
		case <-a.joined:
		case <-tick.C:
		}
		if a.hub.watched() {
			a.look(ctx)
		}
	}
}

// look gives out what is new.
func (a *API) look(ctx context.Context) {
	for {
		a.hub.mu.Lock()
		last := a.hub.last
		a.hub.mu.Unlock()
		if last == "" {
			return
		}
		entries, err := a.Records.After(ctx, command.Events, last, batch)
		if err != nil || len(entries) == 0 {
			return // it looks again by itself
		}
		a.hub.give(framesOf(entries), entries[len(entries)-1].ID)
	}
}
