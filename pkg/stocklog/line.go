package stocklog

import (
	"log/slog"
	"strconv"
	"strings"
	"time"
)

// LevelFatal is above all levels of slog. Nothing is logged with it; it is a threshold that silences everything.
const LevelFatal = slog.LevelError + 4

// levelNone is above every level.
const levelNone = LevelFatal + 4

// Event is the kind of a line, the value of its key "event".
type Event int8

// The kinds of lines. A line of kind EventNone has no key "event"; readers take it for EventConnector.
const (
	EventNone      Event = -1
	EventConnector Event = 0 // "cloudflared"
	EventHTTP      Event = 1
	EventTCP       Event = 2
	EventUDP       Event = 3
)

// Field is one key of a line with its value: a string, a number, a bool, or something that encoding/json encodes.
type Field struct {
	Key   string
	Value any
}

// Line is one log line in cloudflared's words. Fields has neither time, level, message nor event; its keys are in the order in which
// cloudflared writes them, and no key is there twice.
type Line struct {
	Time    time.Time
	Level   slog.Level
	Message string
	Event   Event
	Fields  []Field
	// Transport marks a line about the transport, to which --transport-loglevel applies.
	Transport bool
}

// LevelName is the value of the key "level".
func LevelName(l slog.Level) string {
	switch {
	case l < slog.LevelInfo:
		return "debug"
	case l < slog.LevelWarn:
		return "info"
	case l < slog.LevelError:
		return "warn"
	case l < LevelFatal:
		return "error"
	default:
		return "fatal"
	}
}

// ParseLevel reads the value of --loglevel. ok is false for a word that names no level; the level is then info.
func ParseLevel(s string) (level slog.Level, ok bool) {
	switch strings.ToLower(s) {
	case "trace", "debug":
		return slog.LevelDebug, true
	case "", "info":
		return slog.LevelInfo, true
	case "warn":
		return slog.LevelWarn, true
	case "error":
		return slog.LevelError, true
	case "fatal":
		return LevelFatal, true
	case "panic", "disabled":
		return levelNone, true
	}
	// Numbers name the levels, too, from -1 for trace.
	if n, err := strconv.Atoi(s); err == nil && n >= -1 && n <= 7 {
		return min(slog.Level((max(n, 0)-1)*4), levelNone), true
	}
	return slog.LevelInfo, false
}
