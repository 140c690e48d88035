package credential

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"

	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

// Errors that say which part of a credential is wrong. They never carry any of the input.
var (
	errEncoding = errors.New("not standard base64 with padding")
	errJSON     = errors.New("not a JSON object of the expected form")
	errSecret   = errors.New("secret is not standard base64 with padding")
	errTunnelID = errors.New("tunnel id is not a UUID")
)

// token is the JSON object inside a run token. The writer's order is part of the format.
type token struct {
	AccountTag string     `json:"a"`
	Secret     secretText `json:"s"`
	TunnelID   idText     `json:"t"`
	Endpoint   string     `json:"e,omitempty"`
}

// file is the JSON object of a credentials file.
type file struct {
	AccountTag   string
	TunnelSecret secretText
	TunnelID     idText
	Endpoint     string
}

// ParseToken reads a run token: base64 of a JSON object. Line breaks inside the base64 text are ignored, as are
// unknown keys and the case of known ones.
func ParseToken(s string) (tunnel.Credentials, error) {
	b, err := base64.StdEncoding.DecodeString(s)
	if err != nil {
		return tunnel.Credentials{}, fmt.Errorf("run token: %w", errEncoding)
	}
	var t token
	if err := decode(b, &t); err != nil {
		return tunnel.Credentials{}, fmt.Errorf("run token: %w", err)
	}
	return tunnel.Credentials{
		AccountTag: t.AccountTag,
		Secret:     tunnel.Secret(t.Secret),
		TunnelID:   tunnel.ID(t.TunnelID),
		Endpoint:   t.Endpoint,
	}, nil
}

// Token writes a run token.
func Token(c tunnel.Credentials) string {
	return base64.StdEncoding.EncodeToString(encode(token{
		AccountTag: c.AccountTag,
		Secret:     secretText(c.Secret),
		TunnelID:   idText(c.TunnelID),
		Endpoint:   c.Endpoint,
	}))
}

// ParseFile reads the content of a credentials file. Unknown keys and the case of known ones are ignored.
func ParseFile(b []byte) (tunnel.Credentials, error) {
	var f file
	if err := decode(b, &f); err != nil {
		return tunnel.Credentials{}, fmt.Errorf("credentials file: %w", err)
	}
	return tunnel.Credentials{
		AccountTag: f.AccountTag,
		Secret:     tunnel.Secret(f.TunnelSecret),
		TunnelID:   tunnel.ID(f.TunnelID),
		Endpoint:   f.Endpoint,
	}, nil
}

// File writes the content of a credentials file.
func File(c tunnel.Credentials) []byte {
	return encode(file{
		AccountTag:   c.AccountTag,
		TunnelSecret: secretText(c.Secret),
		TunnelID:     idText(c.TunnelID),
		Endpoint:     c.Endpoint,
	})
}

// AccountHash places an account on the scale 0 to 99 of percentage rollouts: the 32-bit FNV-1a hash of its tag modulo
// 100 (docs/spec/wire.md 12 and 14).
func AccountHash(tag string) uint8 {
	const scale = 100
	h := fnv.New32a()
	_, _ = h.Write([]byte(tag)) // a hash never fails
	return uint8(h.Sum32() % scale)
}

// decode reads one JSON object. The decoder's own errors may quote the input, so only their kind is kept, with the
// place where that helps and tells nothing.
func decode(b []byte, v any) error {
	err := json.Unmarshal(b, v)
	var syntax *json.SyntaxError
	var kind *json.UnmarshalTypeError
	switch {
	case err == nil:
		return nil
	case errors.Is(err, errSecret), errors.Is(err, errTunnelID):
		return err
	case errors.As(err, &syntax):
		return fmt.Errorf("%w: syntax error at byte %d", errJSON, syntax.Offset)
	case errors.As(err, &kind) && kind.Field != "":
		return fmt.Errorf("%w: field %s is no %s", errJSON, kind.Field, kind.Type.Kind())
	default:
		return errJSON
	}
}

// encode writes compact JSON without escaping HTML characters.
func encode(v any) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		panic(err) // the types above marshal any value
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}

// secretText is a secret in its JSON form: standard base64 with padding, null when absent.
type secretText []byte

// MarshalJSON shows the secret: the two formats of this package exist to carry it.
func (s secretText) MarshalJSON() ([]byte, error) {
	if len(s) == 0 {
		return []byte("null"), nil
	}
	return []byte(`"` + base64.StdEncoding.EncodeToString(s) + `"`), nil
}

// UnmarshalJSON replaces the decoder's base64 error, which has no type to recognise it by.
func (s *secretText) UnmarshalJSON(b []byte) error {
	var text *string
	if err := json.Unmarshal(b, &text); err != nil {
		return errSecret
	}
	if text == nil {
		return nil
	}
	secret, err := base64.StdEncoding.DecodeString(*text)
	if err != nil {
		return errSecret
	}
	*s = secret
	return nil
}

// idText is a tunnel id in its JSON form.
type idText tunnel.ID

// MarshalText is the text form with dashes.
func (id idText) MarshalText() ([]byte, error) { return tunnel.ID(id).MarshalText() }

// UnmarshalText reads the text form, and hides the input if there is an error.
func (id *idText) UnmarshalText(b []byte) error {
	v, err := tunnel.ParseID(string(b))
	if err != nil {
		return errTunnelID
	}
	*id = idText(v)
	return nil
}
