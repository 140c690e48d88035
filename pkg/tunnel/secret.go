package tunnel

import "fmt"

// redacted is what a secret shows of itself.
const redacted = "***"

// Secret holds bytes that must reach no log, no store and no message. Every way to print it shows "***".
type Secret []byte

// String never shows the secret.
func (Secret) String() string { return redacted }

// GoString never shows the secret.
func (Secret) GoString() string { return redacted }

// Format never shows the secret, whatever the verb.
func (Secret) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(redacted)) } // a formatter cannot report an error

// MarshalText never shows the secret; packages that must write one (credential) convert to []byte on purpose.
func (Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// Credentials let a connector register for one tunnel (docs/spec/wire.md 13).
type Credentials struct {
	AccountTag string
	Secret     Secret
	TunnelID   ID
	// Endpoint is the edge region that the credentials are bound to; usually empty.
	Endpoint string
}
