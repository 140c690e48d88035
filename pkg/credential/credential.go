package credential

import (
	"errors"

	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

// ParseToken reads a run token.
func ParseToken(s string) (tunnel.Credentials, error) {
	return tunnel.Credentials{}, errors.ErrUnsupported
}

// Token writes a run token.
func Token(c tunnel.Credentials) string { return "" }

// ParseFile reads the content of a credentials file.
func ParseFile(b []byte) (tunnel.Credentials, error) {
	return tunnel.Credentials{}, errors.ErrUnsupported
}

// File writes the content of a credentials file.
func File(c tunnel.Credentials) []byte { return nil }

// AccountHash places an account on the scale 0 to 99 of percentage rollouts.
func AccountHash(tag string) uint8 { return 0 }
