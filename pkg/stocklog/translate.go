package stocklog

import (
	"encoding"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/netip"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/logkey"
	"github.com/culvert-tunnel/culvert/pkg/redact"
)

//nolint:gochecknoglobals // an index of a table that nothing changes
var index = sync.OnceValue(func() map[string]*Row {
	rows := Rows()
	m := make(map[string]*Row, len(rows))
	for i := range rows {
		m[rows[i].Ours] = &rows[i]
	}
	return m
})

// Find is the row of a message of ours; ok is false when there is none.
func Find(message string) (row Row, ok bool) {
	r, ok := index()[message]
	if !ok {
		return Row{}, false
	}
	return *r, true
}

// Translate gives the lines of cloudflared that stand for a record, often one and sometimes none. The record holds all attributes,
// those of its logger included; of two with one key the last counts. A message without a row keeps its words. No line holds a secret
// that package redact recognizes.
func Translate(r slog.Record) []Line {
	attrs := make(attributes, 0, r.NumAttrs())
	r.Attrs(func(a slog.Attr) bool {
		attrs = attrs.add("", a)
		return true
	})
	row := index()[r.Message]
	if row == nil {
		row = &Row{Ours: r.Message, Own: true, Event: EventNone}
	}
	if row.Own {
		return []Line{ownLine(row, &r, attrs)}
	}
	var lines []Line
	for i := range row.Lines {
		if t := &row.Lines[i]; t.holds(attrs) {
			lines = append(lines, t.line(row, &r, attrs))
		}
	}
	return lines
}

// ownLine is a record in our words.
func ownLine(row *Row, r *slog.Record, attrs attributes) Line {
	l := Line{
		Time: r.Time, Level: row.Level.level(r.Level, false), Message: redact.Text(r.Message), Event: row.Event, Transport: row.Transport,
	}
	if _, ok := attrs.find(logkey.ConnIndex); ok && l.Event == EventNone {
		l.Event = EventConnector
	}
	for _, a := range attrs {
		if a.key == logkey.Part {
			continue
		}
		l.set(stockKey(a.key), stockValue(a.key, a.value))
	}
	return l
}

func (t *Template) holds(attrs attributes) bool {
	for _, c := range t.When {
		if slices.Contains(c.Is, attrs.text(c.Attr)) == c.Not {
			return false
		}
	}
	return true
}

func (t *Template) line(row *Row, r *slog.Record, attrs attributes) Line {
	alone := attrs.text(logkey.Connections) == "0" || attrs.text(logkey.Connections) == ""
	l := Line{
		Time: r.Time, Level: t.Level.level(r.Level, alone), Message: expand(t.Message, attrs), Event: t.Event, Transport: row.Transport,
	}
	for _, f := range t.Fields {
		switch v, ok := attrs.find(f.Attr); {
		case f.Value != nil:
			l.set(f.Key, f.Value)
		case f.Attr == "":
			l.set(f.Key, f.Before)
		case !ok:
		case f.Before != "":
			l.set(f.Key, f.Before+textOf(stockValue(f.Attr, v)))
		default:
			l.set(f.Key, stockValue(f.Attr, v))
		}
	}
	return l
}

// set adds a key or replaces its value.
func (l *Line) set(key string, value any) {
	for i := range l.Fields {
		if l.Fields[i].Key == key {
			l.Fields[i].Value = value
			return
		}
	}
	l.Fields = append(l.Fields, Field{key, value})
}

// expand puts the texts of attributes in the place of their names in braces.
func expand(message string, attrs attributes) string {
	if !strings.Contains(message, "{") {
		return message
	}
	var b strings.Builder
	for {
		before, rest, found := strings.Cut(message, "{")
		name, after, closed := strings.Cut(rest, "}")
		b.WriteString(before)
		if !found || !closed {
			return b.String()
		}
		b.WriteString(printable(attrs.text(name)))
		message = after
	}
}

// printable is s with its control characters escaped, so that a text from outside cannot look like further lines.
func printable(s string) string {
	clean := func(r rune) bool { return r >= ' ' && r != 0x7f }
	if strings.IndexFunc(s, func(r rune) bool { return !clean(r) }) < 0 {
		return s
	}
	var b strings.Builder
	for _, r := range s {
		if clean(r) {
			b.WriteRune(r)
			continue
		}
		b.WriteString(strings.Trim(strconv.QuoteRune(r), "'"))
	}
	return b.String()
}

// attribute is one attribute of a record, with the names of its groups before its key.
type attribute struct {
	key   string
	value any
}

type attributes []attribute

// add appends an attribute, a group as its members.
func (s attributes) add(prefix string, a slog.Attr) attributes {
	v := a.Value.Resolve()
	if v.Kind() == slog.KindGroup {
		if a.Key != "" {
			prefix += a.Key + "_"
		}
		for _, member := range v.Group() {
			s = s.add(prefix, member)
		}
		return s
	}
	return append(s, attribute{prefix + a.Key, plain(v)})
}

// find gives the last value of a key.
func (s attributes) find(key string) (any, bool) {
	for i := len(s) - 1; i >= 0; i-- {
		if s[i].key == key {
			return s[i].value, true
		}
	}
	return nil, false
}

// text gives the value of a key as text, "" when there is none.
func (s attributes) text(key string) string {
	v, ok := s.find(key)
	if !ok {
		return ""
	}
	return textOf(stockValue(key, v))
}

// plain turns a value into what a Field may hold, without secrets.
func plain(v slog.Value) any {
	switch v.Kind() {
	case slog.KindString:
		return redact.Text(v.String())
	case slog.KindInt64:
		return v.Int64()
	case slog.KindUint64:
		return v.Uint64()
	case slog.KindFloat64:
		return v.Float64()
	case slog.KindBool:
		return v.Bool()
	case slog.KindDuration:
		return v.Duration().String()
	case slog.KindTime:
		return v.Time().UTC().Format(time.RFC3339)
	default:
		return plainAny(v.Any())
	}
}

func plainAny(v any) any {
	if p := reflect.ValueOf(v); !p.IsValid() || p.Kind() == reflect.Pointer && p.IsNil() {
		return "<nil>" // its methods may panic
	}
	switch x := v.(type) {
	case error:
		return redact.Text(x.Error())
	case fmt.Stringer:
		return redact.Text(x.String())
	case encoding.TextMarshaler:
		return redact.Text(fmt.Sprint(x))
	case []string:
		out := make([]string, len(x))
		for i, s := range x {
			out[i] = redact.Text(s)
		}
		return out
	case map[string]string:
		out := make(map[string]string, len(x))
		for k, s := range x {
			out[k] = redact.Setting(k, s)
		}
		return out
	case map[string][]string:
		return maskHeader(x)
	default:
		return x
	}
}

// maskHeader is a copy of a header without what proves who its sender is.
func maskHeader(h map[string][]string) map[string][]string {
	out := make(map[string][]string, len(h))
	for name, values := range h {
		secret := redact.SecretName(name) || strings.Contains(strings.ToLower(name), "cookie") ||
			strings.HasSuffix(strings.ToLower(name), "-authorization")
		masked := make([]string, len(values))
		for i, v := range values {
			if masked[i] = redact.Text(v); secret {
				masked[i] = redact.Mask
			}
		}
		out[name] = masked
	}
	return out
}

// textOf is a field's value as text.
func textOf(v any) string {
	switch x := v.(type) {
	case string:
		return x
	case int64:
		return strconv.FormatInt(x, 10)
	case uint64:
		return strconv.FormatUint(x, 10)
	case []string, map[string]string, bool, float64:
		return fmt.Sprint(x)
	default:
		b, err := json.Marshal(x)
		if err != nil {
			return fmt.Sprint(x)
		}
		return string(b)
	}
}

// stockKeys are the keys that cloudflared has for ours.
func stockKey(ours string) string {
	switch ours {
	case logkey.ConnectionID:
		return "connection"
	case logkey.EdgeAddr:
		return "ip"
	case logkey.TunnelID:
		return "tunnelID"
	case logkey.ConnectorID:
		return "connectorID"
	case logkey.SessionID:
		return "sessionID"
	case logkey.FlowID:
		return "flowID"
	case logkey.Err:
		return "error"
	case logkey.Rule:
		return "ingressRule"
	case logkey.Origin:
		return "originService"
	}
	if !strings.Contains(ours, "_") {
		return ours
	}
	words := strings.Split(ours, "_")
	for i, w := range words[1:] {
		switch {
		case w == "id":
			words[i+1] = "ID"
		case w != "":
			words[i+1] = strings.ToUpper(w[:1]) + w[1:]
		}
	}
	return strings.Join(words, "")
}

// stockValue is a value as cloudflared shows it: the address of an edge has no port.
func stockValue(key string, v any) any {
	if key != logkey.EdgeAddr {
		return v
	}
	text, ok := v.(string)
	if !ok {
		return v
	}
	if ap, err := netip.ParseAddrPort(text); err == nil {
		return ap.Addr().String()
	}
	return text
}
