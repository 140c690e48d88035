package h1

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"strings"

	"github.com/culvert-tunnel/culvert/pkg/wire/httpfield"
)

const (
	// slab is how many header values are allocated at a time, and the most that a header map is made for beforehand.
	slab = 64
)

// readHead reads the next head of at most limit bytes, up to and with its blank line. Each line is looked at as soon as it
// is there, so that a peer that talks something else is noticed without waiting for a blank line.
func (in *reader) readHead(limit, maxLines int) (text string, lines int, err error) {
	at, seen := 0, 0 // start of the current line and end of what was searched, from in.r
	for {
		i := bytes.IndexByte(in.buf[in.r+seen:in.w], '\n')
		if i < 0 {
			seen = in.buffered()
			if seen > limit {
				return "", 0, errHeadTooLarge
			}
			if err := in.more(); err != nil {
				return "", 0, err
			}
			continue
		}
		line := stripCR(in.buf[in.r+at : in.r+seen+i])
		at = seen + i + 1
		seen = at
		if at > limit {
			return "", 0, errHeadTooLarge
		}
		if lines > maxLines {
			return "", 0, httpfield.ErrTooManyFields
		}
		if lines > 0 && len(line) == 0 {
			text = string(in.buf[in.r : in.r+at])
			in.r += at
			return text, lines - 1, nil
		}
		if err := checkLine(lines, line); err != nil {
			return "", 0, err
		}
		lines++
	}
}

// more reads on within a head. io.EOF means that the head has not begun.
func (in *reader) more() error {
	err := in.fill()
	if errors.Is(err, errBufferFull) {
		in.grow()
		err = in.fill()
	}
	if isEnd(err) && in.buffered() > 0 {
		err = io.ErrUnexpectedEOF
	}
	return err
}

func stripCR(line []byte) []byte {
	if n := len(line); n > 0 && line[n-1] == '\r' {
		return line[:n-1]
	}
	return line
}

// checkLine tells a head from other text.
func checkLine(index int, line []byte) error {
	switch {
	case index == 0:
		if !bytes.HasPrefix(line, []byte("HTTP/")) {
			return malformed("status line", string(line[:min(len(line), quoteLimit)]))
		}
	case line[0] == ' ' || line[0] == '\t':
		if index == 1 {
			return malformed("first header line", string(line[:min(len(line), quoteLimit)]))
		}
	case bytes.IndexByte(line, ':') < 0:
		return malformed("header line", string(line[:min(len(line), quoteLimit)]))
	}
	return nil
}

// head is a parsed response head.
type head struct {
	proto        string
	major, minor int
	status       string // with the reason
	code         int
	header       http.Header
}

// parseHead parses the text of a whole head with so many header lines.
func parseHead(text string, lines int, limits httpfield.Limits) (h head, err error) {
	line, rest := cutLine(text)
	if err := h.parseStatusLine(line); err != nil {
		return head{}, err
	}
	h.header, err = parseHeader(rest, lines, limits)
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
func (h *head) parseStatusLine(line string) error {
	proto, status, ok := strings.Cut(line, " ")
	if !ok {
		return malformed("status line", line)
	}
	h.proto = proto
	switch {
	case proto == "HTTP/1.1":
		h.major, h.minor = 1, 1
	case len(proto) == len("HTTP/x.y") && proto[:5] == "HTTP/" && proto[6] == '.' && isDigit(proto[5]) && isDigit(proto[7]) && proto[5] != '0':
		h.major, h.minor = int(proto[5]-'0'), int(proto[7]-'0')
	default:
		return malformed("HTTP version", proto)
	}
	h.status = strings.TrimLeft(status, " ")
	code, _, _ := strings.Cut(h.status, " ")
	if len(code) != 3 || code[0] < '1' || !isDigit(code[0]) || !isDigit(code[1]) || !isDigit(code[2]) {
		return malformed("status code", code)
	}
	h.code = int(code[0]-'0')*100 + int(code[1]-'0')*10 + int(code[2]-'0')
	return nil
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

// atLeast11 reports whether the peer speaks HTTP/1.1 or better.
func (h *head) atLeast11() bool { return h.major > 1 || h.minor >= 1 }

// parseHeader parses header lines up to a blank line, which must be the last. The values share text's memory. A section
// beyond the limits is httpfield.ErrLimit.
func parseHeader(text string, lines int, limits httpfield.Limits) (http.Header, error) {
	meter := limits.Meter()
	header := make(http.Header, min(lines, slab))
	var values []string
	for {
		line, rest := cutLine(text)
		if line == "" {
			if rest != "" {
				return nil, malformed("text after the head", rest)
			}
			return header, nil
		}
		line = strings.TrimRight(line, " \t")
		if folds(rest) {
			line, rest = unfold(line, rest)
		}
		text = rest
		raw, value, ok := strings.Cut(line, ":")
		if !ok {
			return nil, malformed("header line", line)
		}
		name, err := headerName(raw)
		if err != nil {
			return nil, err
		}
		value = strings.TrimLeft(value, " \t")
		if !httpfield.IsValue(value) {
			return nil, malformed("header line", line)
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
		return "", malformed("header line without a name", "")
	case canonical:
		return raw, nil
	}
	return httpfield.Canonical(raw), nil
}

// spacedName judges a name that is no token.
func spacedName(raw string) (string, error) {
	for i := 0; i < len(raw); i++ {
		if !httpfield.IsTokenByte(raw[i]) && raw[i] != ' ' {
			return "", malformed("header name", raw)
		}
	}
	bare := strings.TrimSpace(raw)
	if strings.EqualFold(bare, "Content-Length") || strings.EqualFold(bare, "Transfer-Encoding") {
		return "", malformed("header name", raw)
	}
	return raw, nil
}
