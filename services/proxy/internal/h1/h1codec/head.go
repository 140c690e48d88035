package h1codec

import (
	"bytes"
	"strings"

	"github.com/culvert-tunnel/culvert/pkg/wire/httpfield"
)

const (
	// slab is how many header values are allocated at a time. No header map is made for more than that before its headers are read.
	slab = 64
)

// Header is a header or trailer section, as http.Header.
type Header = map[string][]string

// Scanner finds the end of a response head in the bytes that have come so far. It looks at each line as soon as it is there, so
// that a peer that speaks another protocol is noticed without waiting for a blank line.
type Scanner struct {
	// MaxBytes and MaxLines bound the head, with its blank line, and its header lines.
	MaxBytes, MaxLines int

	at, seen int // start of the current line, and end of what was searched
	lines    int // complete lines so far
}

// Scan returns the size of the head at the start of b, up to and with its blank line, or 0 if there is more to come. b holds
// what it held at the last call, and what has come since.
func (s *Scanner) Scan(b []byte) (size int, err error) {
	for {
		i := bytes.IndexByte(b[s.seen:], '\n')
		if i < 0 {
			if s.seen = len(b); s.seen > s.MaxBytes {
				return 0, ErrHeadTooLarge
			}
			return 0, nil
		}
		line := stripCR(b[s.at : s.seen+i])
		s.at = s.seen + i + 1
		s.seen = s.at
		switch {
		case s.at > s.MaxBytes:
			return 0, ErrHeadTooLarge
		case s.lines > s.MaxLines:
			return 0, httpfield.ErrTooManyFields
		case s.lines > 0 && len(line) == 0:
			return s.at, nil
		}
		if err := checkLine(s.lines, line); err != nil {
			return 0, err
		}
		s.lines++
	}
}

// Fields is the number of header lines of a complete head.
func (s *Scanner) Fields() int { return s.lines - 1 }

func stripCR(line []byte) []byte {
	if n := len(line); n > 0 && line[n-1] == '\r' {
		return line[:n-1]
	}
	return line
}

// checkLine reports text that cannot be a line of a head.
func checkLine(index int, line []byte) error {
	switch {
	case index == 0:
		if !bytes.HasPrefix(line, []byte("HTTP/")) {
			return Malformed("status line", string(line[:min(len(line), quoteLimit)]))
		}
	case line[0] == ' ' || line[0] == '\t':
		if index == 1 {
			return Malformed("first header line", string(line[:min(len(line), quoteLimit)]))
		}
	case bytes.IndexByte(line, ':') < 0:
		return Malformed("header line", string(line[:min(len(line), quoteLimit)]))
	}
	return nil
}

// Head is a parsed response head.
type Head struct {
	Proto        string
	Major, Minor int
	Status       string // with the reason
	Code         int
	Header       Header
}

// ParseHead parses the text of a whole head. lines is the number of its header lines, for which memory is reserved. The header's
// values share text's memory.
func ParseHead(text string, lines int, limits httpfield.Limits) (h Head, err error) {
	line, rest := cutLine(text)
	if err := h.parseStatusLine(line); err != nil {
		return Head{}, err
	}
	h.Header, err = ParseFields(rest, lines, limits)
	return h, err
}

// cutLine takes the first line off, without its end.
func cutLine(text string) (line, rest string) {
	i := strings.IndexByte(text, '\n')
	if i < 0 {
		return text, ""
	}
	line, rest = text[:i], text[i+1:]
	if i > 0 && line[i-1] == '\r' {
		line = line[:i-1]
	}
	return line, rest
}

// parseStatusLine is net/http's, except that the code must be three digits, at least 100, and the major version not 0.
func (h *Head) parseStatusLine(line string) error {
	proto, status, ok := strings.Cut(line, " ")
	if !ok {
		return Malformed("status line", line)
	}
	h.Proto = proto
	switch {
	case proto == "HTTP/1.1":
		h.Major, h.Minor = 1, 1
	case len(proto) == len("HTTP/x.y") && proto[:5] == "HTTP/" && proto[6] == '.' && isDigit(proto[5]) && isDigit(proto[7]) && proto[5] != '0':
		h.Major, h.Minor = int(proto[5]-'0'), int(proto[7]-'0')
	default:
		return Malformed("HTTP version", proto)
	}
	h.Status = strings.TrimLeft(status, " ")
	code, _, _ := strings.Cut(h.Status, " ")
	if len(code) != 3 || code[0] < '1' || !isDigit(code[0]) || !isDigit(code[1]) || !isDigit(code[2]) {
		return Malformed("status code", code)
	}
	h.Code = int(code[0]-'0')*100 + int(code[1]-'0')*10 + int(code[2]-'0')
	return nil
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

// atLeast11 reports whether the peer speaks HTTP/1.1 or better.
func (h *Head) atLeast11() bool { return h.Major > 1 || h.Minor >= 1 }

// ParseFields parses header lines up to a blank line, which must be the last. The values share text's memory. A section
// beyond the limits is httpfield.ErrLimit.
func ParseFields(text string, lines int, limits httpfield.Limits) (Header, error) {
	if folds(text) {
		return nil, Malformed("first header line", text)
	}
	meter := limits.Meter()
	header := make(Header, min(lines, slab))
	var values []string
	for {
		line, rest := cutLine(text)
		if line == "" {
			if rest != "" {
				return nil, Malformed("text after the head", rest)
			}
			return header, nil
		}
		line = strings.TrimRight(line, " \t")
		if folds(rest) {
			if strings.IndexByte(line, ':') < 0 {
				return nil, Malformed("header line", line)
			}
			line, rest = unfold(line, rest)
		}
		text = rest
		raw, value, ok := strings.Cut(line, ":")
		if !ok {
			return nil, Malformed("header line", line)
		}
		name, err := headerName(raw)
		if err != nil {
			return nil, err
		}
		value = strings.TrimLeft(value, " \t")
		if !httpfield.IsValue(value) {
			return nil, Malformed("header line", line)
		}
		if err := meter.Add(len(name), len(value)); err != nil {
			return nil, err
		}
		if have, ok := header[name]; ok {
			header[name] = append(have, value)
			continue
		}
		if len(values) == 0 {
			values = make([]string, max(1, min(lines, slab)))
		}
		values[0] = value
		header[name], values = values[:1:1], values[1:]
		lines--
	}
}

// folds reports whether text begins with the continuation of the line before.
func folds(text string) bool { return text != "" && (text[0] == ' ' || text[0] == '\t') }

// unfold joins a line with its continuations by single spaces, as net/http does.
func unfold(line, rest string) (string, string) {
	var b strings.Builder
	b.WriteString(line)
	for folds(rest) {
		line, rest = cutLine(rest)
		b.WriteByte(' ')
		b.WriteString(strings.Trim(line, " \t"))
	}
	return b.String(), rest
}

// headerName gives a name in canonical form. One with a space in it stays as it is, as in net/http, unless it would be one
// that frames the body: two readers may disagree on what such a line means.
func headerName(raw string) (string, error) {
	upper, canonical := true, true
	for i := 0; i < len(raw); i++ {
		c := raw[i]
		if !httpfield.IsTokenByte(c) {
			return spacedName(raw)
		}
		if upper && 'a' <= c && c <= 'z' || !upper && 'A' <= c && c <= 'Z' {
			canonical = false
		}
		upper = c == '-'
	}
	switch {
	case raw == "":
		return "", Malformed("header line without a name", "")
	case canonical:
		return raw, nil
	}
	return httpfield.Canonical(raw), nil
}

// spacedName judges a name that is no token.
func spacedName(raw string) (string, error) {
	for i := 0; i < len(raw); i++ {
		if !httpfield.IsTokenByte(raw[i]) && raw[i] != ' ' {
			return "", Malformed("header name", raw)
		}
	}
	bare := strings.TrimSpace(raw)
	if strings.EqualFold(bare, "Content-Length") || strings.EqualFold(bare, "Transfer-Encoding") {
		return "", Malformed("header name", raw)
	}
	return raw, nil
}
