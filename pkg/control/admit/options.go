package admit

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

const (
	// MaxFeatures bounds the features of a registration; the reference sends fewer than ten.
	MaxFeatures = 64
	// MaxText bounds a text of a connector, in bytes.
	MaxText = 128
)

// WellFormed reports whether a registration has a connector id and not more features than MaxFeatures.
func WellFormed(id tunnel.ConnectorID, features []string) bool {
	return !id.IsZero() && len(features) <= MaxFeatures
}

// Text makes a text of a connector fit for logs and terminals: at most MaxText bytes, and neither control characters nor marks
// that change the direction of writing.
func Text(s string) string {
	if len(s) > MaxText {
		s = s[:MaxText]
	}
	return strings.Map(func(r rune) rune {
		if r == utf8.RuneError || !unicode.IsPrint(r) {
			return -1
		}
		return r
	}, s)
}

// Texts is Text for each of a list.
func Texts(in []string) []string {
	out := make([]string, 0, len(in))
	for _, s := range in {
		out = append(out, Text(s))
	}
	return out
}
