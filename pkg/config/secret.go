package config

import (
	"fmt"
	"regexp"
)

const redacted = "***"

// Secret is a setting that must not be shown. Every way to print it gives "***"; Reveal gives the text.
type Secret string

// Reveal is the secret itself, for the one place that needs it.
func (s Secret) Reveal() string { return string(s) }

// String never shows the secret.
func (s Secret) String() string {
	if s == "" {
		return ""
	}
	return redacted
}

// GoString never shows the secret.
func (s Secret) GoString() string { return s.String() }

// Format never shows the secret, whatever the verb.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(s.String())) } // a broken formatter has nobody to tell

// MarshalText never shows the secret.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

var urlPassword = regexp.MustCompile(`(://[^/?#\s:@]*):[^/?#\s]*@`)

// Redact replaces the passwords of all URLs in text.
func Redact(text string) string {
	return urlPassword.ReplaceAllString(text, "${1}:"+redacted+"@")
}
