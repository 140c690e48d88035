package scrub

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"

	"github.com/culvert-tunnel/culvert/pkg/redact"
)

// minLiteral is the length, in bytes, of the shortest secret that is masked wherever it stands. A shorter one would also be found in
// words that are none.
const minLiteral = 8

// maxNames bounds the memory for names.
const maxNames = 4096

// Scrubber masks secrets. One of its methods is called at a time.
type Scrubber struct {
	literals []string
	// names remembers which names are those of secrets: a log has few, and each many times.
	names map[string]bool
	// inKey says that the last line was inside of a block with a private key.
	inKey bool
}

// New makes a scrubber that also masks the secrets that are given, wherever they stand.
func New(secrets ...string) *Scrubber {
	s := &Scrubber{names: map[string]bool{}}
	for _, secret := range secrets {
		if secret = strings.TrimSpace(secret); len(secret) >= minLiteral && !slices.Contains(s.literals, secret) {
			s.literals = append(s.literals, secret)
		}
	}
	// The longest first: one may be a part of another.
	slices.SortFunc(s.literals, func(a, b string) int { return len(b) - len(a) })
	return s
}

// keyBlock finds the limits of a PEM block whose content is a secret.
var keyBlock = regexp.MustCompile(`-----(BEGIN|END) [A-Z0-9 ]*(PRIVATE KEY|TOKEN)-----`)

// Line is one line of a log without its secrets; ok is false for a line that is a part of a private key. Lines must come in order.
func (s *Scrubber) Line(line string) (masked string, ok bool) {
	if m := keyBlock.FindAllStringSubmatch(line, -1); len(m) > 0 {
		before := s.inKey
		s.inKey = m[len(m)-1][1] == "BEGIN"
		if before {
			return "", false
		}
		// The whole key may stand on one line, its line ends escaped.
		at := keyBlock.FindStringIndex(line)
		return s.Text(line[:at[0]]) + redact.Mask, true
	}
	if s.inKey {
		return "", false
	}
	return s.Text(line), true
}

// Text is a text without its secrets.
func (s *Scrubber) Text(text string) string {
	for _, l := range s.literals {
		text = strings.ReplaceAll(text, l, redact.Mask)
	}
	return redact.Text(s.maskValues(text))
}

// JSON is a document without its secrets, indented: the values of keys with the name of a secret, and secrets within other values.
func (s *Scrubber) JSON(document []byte) ([]byte, error) {
	dec := json.NewDecoder(strings.NewReader(string(document)))
	dec.UseNumber()
	var v any
	if err := dec.Decode(&v); err != nil {
		return nil, fmt.Errorf("document is not JSON: %w", err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("document is not JSON: text after its end")
	}
	return json.MarshalIndent(s.value("", v), "", "  ")
}

// value masks the value v of the key name.
func (s *Scrubber) value(name string, v any) any {
	switch x := v.(type) {
	case map[string]any:
		out := make(map[string]any, len(x))
		for k, member := range x {
			out[s.Text(k)] = s.value(k, member)
		}
		return out
	case []any:
		out := make([]any, len(x))
		for i, member := range x {
			out[i] = s.value(name, member)
		}
		return out
	case string:
		if x != "" && s.secretName(name) {
			return redact.Mask
		}
		return s.Text(redact.URL(x))
	case json.Number:
		if s.secretName(name) {
			return redact.Mask
		}
	}
	return v
}

// secretName is the function of the same name with a memory.
func (s *Scrubber) secretName(name string) bool {
	secret, ok := s.names[name]
	if !ok {
		secret = secretName(name)
		if len(s.names) < maxNames {
			s.names[name] = secret
		}
	}
	return secret
}

// secretName reports whether the value of name is a secret: a setting, a variable, a key of JSON or a header.
func secretName(name string) bool {
	lower := strings.ToLower(name)
	switch lower {
	case "code", "key": // of an error or a metric, far more often than a secret
		return false
	}
	if strings.HasSuffix(lower, "cookie") {
		return true
	}
	for _, word := range []string{"authorization", "jwt", "assertion", "csrf", "xsrf"} {
		if strings.Contains(lower, word) {
			return true
		}
	}
	return redact.SecretName(name)
}

// wholeLine reports whether the value of a header takes the rest of its line when it is not quoted.
func wholeLine(name string) bool {
	lower := strings.ToLower(name)
	return strings.HasSuffix(lower, "cookie") || strings.Contains(lower, "authorization")
}

// tunnelSecret is a decoded tunnel token, whose key for the secret is one letter.
var tunnelSecret = regexp.MustCompile(`(\\*"s\\*"\s*:\s*\\*")[A-Za-z0-9+/=_-]{16,}`)

// flagValue is a flag with its value in the next argument.
var flagValue = regexp.MustCompile(`(--?[A-Za-z][A-Za-z0-9_.-]*[ \t]+)("[^"]*"?|'[^']*'?|\S+)`)

// maskValues masks the value of each name of a secret: after "name": or name= and after a flag.
func (s *Scrubber) maskValues(text string) string {
	if strings.Contains(text, `"s`) {
		text = tunnelSecret.ReplaceAllString(text, "${1}"+redact.Mask)
	}
	if strings.Contains(text, "-") {
		text = flagValue.ReplaceAllStringFunc(text, func(m string) string {
			part := flagValue.FindStringSubmatch(m)
			if !s.secretName(strings.Trim(part[1], "- \t")) {
				return m
			}
			return part[1] + redact.Mask
		})
	}
	var b strings.Builder
	from := 0 // up to here text is done
	for i := 0; i < len(text); i++ {
		if text[i] != ':' && text[i] != '=' {
			continue
		}
		name := nameBefore(text[from:i])
		if name == "" || !s.secretName(name) {
			continue
		}
		value := i + 1 + len(text[i+1:]) - len(strings.TrimLeft(text[i+1:], " \t"))
		open, n, end := extent(text[value:], wholeLine(name))
		if n == 0 {
			continue
		}
		b.WriteString(text[from:value] + open + redact.Mask + end)
		from = value + n
		i = from - 1
	}
	b.WriteString(text[from:])
	return b.String()
}

// nameBefore gives the name at the end of text, without the blanks and the quote after it.
func nameBefore(text string) string {
	text = strings.TrimRight(text, " \t")
	if n := len(text); n > 0 && (text[n-1] == '"' || text[n-1] == '\'') {
		text = strings.TrimRight(text[:n-1], "\\")
	}
	i := len(text)
	for i > 0 && isNameByte(text[i-1]) {
		i--
	}
	return strings.TrimLeft(text[i:], "-.0123456789")
}

func isNameByte(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_' || c == '-' || c == '.'
}

// extent finds the value at the begin of text: its length in bytes with what encloses it, and these ends.
func extent(text string, rest bool) (open string, n int, end string) {
	switch quote := quoteAt(text, 0); {
	case text == "":
		return "", 0, ""
	case text[0] == '[':
		return "[", listEnd(text), "]"
	case text[0] == '{':
		return "", 0, "" // an object: its own names count
	case quote != "":
		i := closing(text, len(quote), quote)
		switch {
		case i < 0:
			return quote, len(text), "" // cut off
		case strings.HasPrefix(text[i:], quote):
			return quote, i + len(quote), quote
		default:
			return quote, i, "" // cut off within another text
		}
	case rest:
		return "", len(text), ""
	default:
		if i := strings.IndexAny(text, " \t,;&)]}\"'\\"); i >= 0 {
			return "", i, ""
		}
		return "", len(text), ""
	}
}

// quoteAt gives the quote at position i with the backslashes before it: the more, the deeper it is nested.
func quoteAt(text string, i int) string {
	j := i
	for j < len(text) && text[j] == '\\' {
		j++
	}
	if j < len(text) && (text[j] == '"' || text[j] == '\'') {
		return text[i : j+1]
	}
	return ""
}

// closing finds the position of the quote that ends what begins at from: the next one with the same number of backslashes. One with
// fewer ends the text around it, so it ends the value, too.
func closing(text string, from int, quote string) int {
	for i := from; i < len(text); i++ {
		q := quoteAt(text, i)
		switch {
		case q == "":
			continue
		case q[len(q)-1] == quote[len(quote)-1] && len(q) <= len(quote):
			return i
		}
		i += len(q) - 1
	}
	return -1
}

// listEnd gives the length of the list at the begin of text. Brackets within quotes do not end it.
func listEnd(text string) int {
	for i := 1; i < len(text); i++ {
		if text[i] == ']' {
			return i + 1
		}
		q := quoteAt(text, i)
		if q == "" {
			continue
		}
		end := closing(text, i+len(q), q)
		if end < 0 {
			return len(text)
		}
		i = end + len(quoteAt(text, end)) - 1
	}
	return len(text)
}
