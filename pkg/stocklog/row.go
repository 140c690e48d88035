package stocklog

import (
	"log/slog"

	"github.com/culvert-tunnel/culvert/pkg/logkey"
)

// Rule says how a line of a row gets its level.
type Rule uint8

// The rules of levels.
const (
	Same   Rule = iota // the level of our record
	Debug              // debug
	Info               // info
	Warn               // warn
	Error              // error
	ByConn             // warn while another connection of the connector is registered, else error
	Raised             // debug when our record is at debug level, else error
)

// Row says what becomes of one message of ours.
type Row struct {
	// Ours is the message of the record.
	Ours string
	// Lines are the lines of cloudflared that stand for it. Those whose conditions hold are written, in order.
	Lines []Template
	// Own keeps our message, in cloudflared's form, with keys in its style.
	Own bool
	// Level is the level of an own line.
	Level Rule
	// Event is the kind of an own line. A record about a connection is of kind EventConnector in any case.
	Event Event
	// Transport marks the lines as ones about the transport.
	Transport bool
	// Note says why lines differ from those of cloudflared, or why the row has none.
	Note string
}

// Template is one line of cloudflared.
type Template struct {
	Level Rule
	// Message may name attributes of the record as {key}.
	Message string
	Event   Event
	Fields  []Source
	// When lists what must hold for the line to be written.
	When []Cond
}

// Source says where the value of a key comes from.
type Source struct {
	Key string
	// Attr is the attribute of our record. A missing attribute leaves the key out.
	Attr string
	// Before stands before the attribute's text, or is the value when Attr is empty.
	Before string
	// Value is the value when it is not nil.
	Value any
}

// Cond is a condition on an attribute's text; a missing attribute has the text "".
type Cond struct {
	Attr string
	// Is lists the texts for which the condition holds.
	Is []string
	// Not reverses it.
	Not bool
}

// when makes the condition that an attribute has one of the texts.
func when(attr string, is ...string) Cond { return Cond{Attr: attr, Is: is} }

// unless makes the condition that an attribute has none of the texts.
func unless(attr string, is ...string) Cond { return Cond{Attr: attr, Is: is, Not: true} }

// stock makes a row with lines of cloudflared.
func stock(ours string, lines ...Template) Row { return Row{Ours: ours, Lines: lines} }

// line makes a line without a kind.
func line(level Rule, message string, fields ...Source) Template {
	return Template{Level: level, Message: message, Event: EventNone, Fields: fields}
}

// of sets the kind of a line.
func (t Template) of(e Event) Template {
	t.Event = e
	return t
}

// only adds conditions.
func (t Template) only(conds ...Cond) Template {
	t.When = append(t.When[:len(t.When):len(t.When)], conds...)
	return t
}

// own makes a row that keeps our message.
func own(ours string) Row { return Row{Ours: ours, Own: true, Event: EventNone} }

// dropped makes a row that writes nothing.
func dropped(ours, note string) Row { return Row{Ours: ours, Note: note} }

// quiet writes an own row at debug.
func (r Row) quiet() Row {
	r.Level = Debug
	return r
}

// as sets the kind of an own row.
func (r Row) as(e Event) Row {
	r.Event = e
	return r
}

// transport marks a row as one about the transport.
func (r Row) transport() Row {
	r.Transport = true
	return r
}

// because adds a note.
func (r Row) because(note string) Row {
	r.Note = note
	return r
}

// from makes a key with the value of an attribute.
func from(key, attr string) Source { return Source{Key: key, Attr: attr} }

// prefixedError makes the key "error" with the record's error behind a fixed text.
func prefixedError(before string) Source {
	return Source{Key: "error", Attr: logkey.Err, Before: before}
}

// fixed makes a key with a fixed text.
func fixed(key, text string) Source { return Source{Key: key, Before: text} }

// level applies the rule to a record's level; alone says that no other connection is registered.
func (r Rule) level(ours slog.Level, alone bool) slog.Level {
	switch r {
	case Debug:
		return slog.LevelDebug
	case Info:
		return slog.LevelInfo
	case Warn:
		return slog.LevelWarn
	case Error:
		return slog.LevelError
	case ByConn:
		if alone {
			return slog.LevelError
		}
		return slog.LevelWarn
	case Raised:
		if ours > slog.LevelDebug {
			return slog.LevelError
		}
	case Same:
	}
	return ours
}
