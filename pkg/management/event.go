package management

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"
)

// Event is the kind of a log line.
type Event uint8

// The kinds of log lines. Connector is called "cloudflared" in messages.
const (
	Connector Event = iota
	HTTP
	TCP
	UDP
)

var eventNames = [...]string{"cloudflared", "http", "tcp", "udp"} //nolint:gochecknoglobals // a constant

// ParseEvent reads the name of an event.
func ParseEvent(s string) (Event, error) {
	if i := slices.Index(eventNames[:], s); i >= 0 {
		return Event(i), nil
	}
	return 0, fmt.Errorf("event %q is none of cloudflared, http, tcp, udp", s)
}

// String is the name of the event.
func (e Event) String() string {
	if int(e) < len(eventNames) {
		return eventNames[e]
	}
	return eventNames[Connector]
}

// MarshalText makes the name of the event.
func (e Event) MarshalText() ([]byte, error) { return []byte(e.String()), nil }

// UnmarshalText reads the name of an event.
func (e *Event) UnmarshalText(b []byte) (err error) {
	*e, err = ParseEvent(string(b))
	return err
}

// Level is the level of a log line.
type Level uint8

// The levels of log lines.
const (
	Debug Level = iota
	Info
	Warn
	Error
)

var levelNames = [...]string{"debug", "info", "warn", "error"} //nolint:gochecknoglobals // a constant

// ParseLevel reads the name of a level.
func ParseLevel(s string) (Level, error) {
	if i := slices.Index(levelNames[:], s); i >= 0 {
		return Level(i), nil
	}
	return 0, fmt.Errorf("level %q is none of debug, info, warn, error", s)
}

// String is the name of the level.
func (l Level) String() string { return levelNames[min(int(l), len(levelNames)-1)] }

// MarshalText makes the name of the level.
func (l Level) MarshalText() ([]byte, error) { return []byte(l.String()), nil }

// UnmarshalText reads the name of a level.
func (l *Level) UnmarshalText(b []byte) (err error) {
	*l, err = ParseLevel(string(b))
	return err
}

// Line is one log line as clients get it.
type Line struct {
	// Time is in RFC 3339.
	Time    string         `json:"time"`
	Level   Level          `json:"level"`
	Message string         `json:"message"`
	Event   Event          `json:"event"`
	Fields  map[string]any `json:"fields,omitempty"`
}

// TimeText is a time as lines have it.
func TimeText(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// Filters choose lines. The zero value lets every line through.
type Filters struct {
	// Events are the kinds of lines that pass; none means all.
	Events []Event `json:"events,omitempty"`
	// Level is the lowest level that passes.
	Level Level `json:"level,omitempty"`
	// Sampling is the share of lines that pass. Anything but a number between 0 and 1 is all of them.
	Sampling float64 `json:"sampling,omitempty"`
}

// Wants reports whether lines of a kind pass.
func (f Filters) Wants(e Event) bool { return len(f.Events) == 0 || slices.Contains(f.Events, e) }

// Pass reports whether a line of a level and kind passes, if it is in the sample.
func (f Filters) Pass(l Level, e Event) bool { return l >= f.Level && f.Wants(e) }

// Sampled reports whether a line is in the sample. chance is a random number of at least 0 and less than 1.
func (f Filters) Sampled(chance float64) bool {
	return f.Sampling <= 0 || f.Sampling >= 1 || chance < f.Sampling
}

// The types of messages.
const (
	TypeStart = "start_streaming"
	TypeStop  = "stop_streaming"
	TypeLogs  = "logs"
)

// Request is a message of a client.
type Request struct {
	Type    string   `json:"type"`
	Filters *Filters `json:"filters,omitempty"`
}

// Errors of ParseRequest.
var (
	// ErrMessage says that a message is none of a client.
	ErrMessage = errors.New("invalid message type was provided")
	// ErrFilters says that the filters of a message cannot be read.
	ErrFilters = errors.New("filters cannot be read")
)

// ParseRequest reads a message of a client. Filters that cannot be read are ErrFilters, anything else that cannot is ErrMessage.
func ParseRequest(b []byte) (Request, error) {
	var head struct {
		Type    string          `json:"type"`
		Filters json.RawMessage `json:"filters"`
	}
	if err := json.Unmarshal(b, &head); err != nil {
		return Request{}, fmt.Errorf("%w: %w", ErrMessage, err)
	}
	r := Request{Type: head.Type}
	if r.Type != TypeStart && r.Type != TypeStop {
		return Request{}, fmt.Errorf("%w: %.40q", ErrMessage, head.Type)
	}
	if r.Type == TypeStart && len(head.Filters) > 0 {
		if err := json.Unmarshal(head.Filters, &r.Filters); err != nil {
			return Request{}, fmt.Errorf("%w: %w", ErrFilters, err)
		}
	}
	return r, nil
}

// Logs is a message of the service.
type Logs struct {
	Type string `json:"type"`
	Logs []Line `json:"logs"`
}

// linesPrefix and linesSuffix stand around the lines of a message.
const (
	linesPrefix = `{"type":"` + TypeLogs + `","logs":[`
	linesSuffix = `]}`
)

// Encode makes the message of one line. A line with a value that JSON has no form for loses its fields.
func (l Line) Encode() []byte {
	text, err := json.Marshal(l)
	if err != nil {
		l.Fields = nil
		text, _ = json.Marshal(l) // strings and numbers always encode
	}
	return slices.Concat([]byte(linesPrefix), text, []byte(linesSuffix))
}

// Joined makes one message with the lines of several messages, each of which Line.Encode made.
func Joined(messages [][]byte) []byte {
	if len(messages) == 1 {
		return messages[0]
	}
	out := []byte(linesPrefix)
	for i, m := range messages {
		if i > 0 {
			out = append(out, ',')
		}
		out = append(out, m[len(linesPrefix):len(m)-len(linesSuffix)]...)
	}
	return append(out, linesSuffix...)
}

// ParseLogs reads a message of the service. Lines of stock leave out a level debug and an event cloudflared.
func ParseLogs(b []byte) (Logs, error) {
	var m Logs
	if err := json.Unmarshal(b, &m); err != nil {
		return m, err
	}
	if m.Type != TypeLogs {
		return m, fmt.Errorf("%w: %.40q", ErrMessage, m.Type)
	}
	return m, nil
}
