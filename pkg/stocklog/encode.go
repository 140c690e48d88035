package stocklog

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"time"
)

// Encoder appends a line and a line feed to b.
type Encoder func(b []byte, l *Line) []byte

// The colours of a terminal that cloudflared uses.
const (
	red    = 31
	green  = 32
	yellow = 33
	cyan   = 36
	grey   = 90
	bold   = 1
)

const keyError = "error"

// Console is the form for people: time, level, message, then the keys in alphabetical order behind the error. coloured adds the
// codes of a terminal.
func Console(coloured bool) Encoder {
	return func(b []byte, l *Line) []byte {
		paint := func(text string, codes ...int) {
			if coloured {
				for _, c := range slices.Backward(codes) {
					b = fmt.Appendf(b, "\x1b[%dm", c)
				}
			}
			b = append(b, text...)
			if coloured {
				for range codes {
					b = append(b, "\x1b[0m"...)
				}
			}
		}
		paint(l.Time.UTC().Format(time.RFC3339), grey)
		b = append(b, ' ')
		name, codes := levelMark(l.Level)
		paint(name, codes...)
		b = append(b, ' ')
		b = append(b, l.Message...)
		for _, f := range l.sorted() {
			b = append(b, ' ')
			if f.Key == keyError {
				paint(f.Key+"=", red)
				paint(consoleValue(f.Value), red)
				continue
			}
			paint(f.Key+"=", cyan)
			b = append(b, consoleValue(f.Value)...)
		}
		return append(b, '\n')
	}
}

// levelMark is the short name of a level, with its colours from the inner to the outer one.
func levelMark(l slog.Level) (string, []int) {
	switch LevelName(l) {
	case "debug":
		return "DBG", []int{yellow}
	case "info":
		return "INF", []int{green}
	case "warn":
		return "WRN", []int{red}
	case "error":
		return "ERR", []int{red, bold}
	default:
		return "FTL", []int{red, bold}
	}
}

// sorted is all keys but those of every line, the error first.
func (l *Line) sorted() []Field {
	fields := make([]Field, 0, len(l.Fields)+1)
	if l.Event != EventNone {
		fields = append(fields, Field{"event", int64(l.Event)})
	}
	fields = append(fields, l.Fields...)
	slices.SortStableFunc(fields, func(a, b Field) int {
		switch {
		case a.Key == b.Key:
			return 0
		case a.Key == keyError || b.Key != keyError && a.Key < b.Key:
			return -1
		default:
			return 1
		}
	})
	return fields
}

// consoleValue is a value as the console shows it: text in quotes where it would not be one word.
func consoleValue(v any) string {
	if s, ok := v.(string); ok {
		for i := range len(s) {
			if c := s[i]; c <= ' ' || c > '~' || c == '\\' || c == '"' {
				return strconv.Quote(s)
			}
		}
		return s
	}
	return string(encode(v, true))
}

// JSON is one object with the keys in the order in which cloudflared writes them to its files.
func JSON() Encoder {
	return func(b []byte, l *Line) []byte {
		b = append(b, `{"level":"`...)
		b = append(b, LevelName(l.Level)...)
		b = append(b, '"')
		if l.Event != EventNone {
			b = append(b, `,"event":`...)
			b = strconv.AppendInt(b, int64(l.Event), 10)
		}
		for _, f := range l.Fields {
			b = appendPair(b, f.Key, f.Value, false)
		}
		b = appendPair(b, "time", l.Time.UTC().Format(time.RFC3339), false)
		if l.Message != "" {
			b = appendPair(b, "message", l.Message, false)
		}
		return append(b, '}', '\n')
	}
}

// SortedJSON is one object with the keys in alphabetical order, as cloudflared writes it with --output json.
func SortedJSON() Encoder {
	return func(b []byte, l *Line) []byte {
		all := map[string]any{"level": LevelName(l.Level), "time": l.Time.UTC().Format(time.RFC3339)}
		if l.Message != "" {
			all["message"] = l.Message
		}
		if l.Event != EventNone {
			all["event"] = int64(l.Event)
		}
		for _, f := range l.Fields {
			if _, taken := all[f.Key]; !taken {
				all[f.Key] = f.Value
			}
		}
		return append(append(b, encode(all, true)...), '\n')
	}
}

func appendPair(b []byte, key string, value any, html bool) []byte {
	b = append(b, ',')
	b = append(b, encode(key, html)...)
	b = append(b, ':')
	return append(b, encode(value, html)...)
}

// encode is a value as JSON; a value that JSON has no form for becomes text. html escapes the characters of HTML.
func encode(v any, html bool) []byte {
	var buf bytes.Buffer
	e := json.NewEncoder(&buf)
	e.SetEscapeHTML(html)
	if err := e.Encode(v); err != nil {
		buf.Reset()
		_ = e.Encode(fmt.Sprint(v)) // a string always has a form
	}
	return bytes.TrimSuffix(buf.Bytes(), []byte{'\n'})
}
