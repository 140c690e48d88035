package tail

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/culvert-tunnel/culvert/pkg/management"
)

// Format makes the text of a line, without its end.
type Format func(l management.Line) ([]byte, error)

// FormatOf finds the format of a value of --output.
func FormatOf(name string) (Format, error) {
	switch name {
	case "", "default":
		return plain, nil
	case "json":
		return func(l management.Line) ([]byte, error) { return compact(l) }, nil
	}
	return nil, fmt.Errorf("--output %q is none of default, json", name)
}

// plain is time, level, kind, message and fields. A line of a connector is text of strangers: it may not steer the terminal.
func plain(l management.Line) ([]byte, error) {
	fields, err := compact(l.Fields)
	if err != nil {
		return nil, err
	}
	return fmt.Appendf(nil, "%s %s %s %s %s", clean(l.Time), l.Level, l.Event, clean(l.Message), fields), nil
}

// compact is JSON on one line, with the characters of HTML as they are.
func compact(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

// clean replaces what is not printable.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 {
			return '?'
		}
		return r
	}, s)
}

// write prints the lines of a message.
func (f Format) write(w io.Writer, m management.Logs) error {
	for _, l := range m.Logs {
		text, err := f(l)
		if err != nil {
			return err
		}
		if _, err := w.Write(append(text, '\n')); err != nil {
			return err
		}
	}
	return nil
}
