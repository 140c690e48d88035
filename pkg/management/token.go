package management

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// FedIssuer is the issuer of the tokens of tunnels with a FedRAMP credential.
const FedIssuer = "fed-tunnelstore"

// maxToken bounds the length of a token, in bytes.
const maxToken = 16 << 10

// What a token gives access to. An edge enforces it; connectors do not look at it.
const (
	ResourceLogs        = "logs"
	ResourceHostDetails = "host_details"
	ResourceAdmin       = "admin"
)

// ErrToken says that a token cannot be used.
var ErrToken = errors.New("management token")

// Claims are the claims of an access token.
type Claims struct {
	Tunnel    TokenTunnel `json:"tun"`
	Actor     Actor       `json:"actor"`
	Resources []string    `json:"res,omitempty"`

	jwt.RegisteredClaims
}

// TokenTunnel names the tunnel that a token is for.
type TokenTunnel struct {
	ID         string `json:"id"`
	AccountTag string `json:"account_tag"`
}

// Actor is who a token was made for.
type Actor struct {
	ID      string `json:"id"`
	Support bool   `json:"support"`
}

// Fed reports whether the token is for a tunnel with a FedRAMP credential.
func (c *Claims) Fed() bool { return c.Issuer == FedIssuer }

// SetLife says who issued the token and when it is valid.
func (c *Claims) SetLife(issuer string, from, until time.Time) {
	c.Issuer, c.IssuedAt, c.ExpiresAt = issuer, jwt.NewNumericDate(from), jwt.NewNumericDate(until)
}

// Validate reports a required claim that is missing, with ErrToken. Without it jwt would accept any claims.
func (c *Claims) Validate() error {
	switch {
	case c.Tunnel.ID == "":
		return fmt.Errorf("%w: claim tun.id is missing", ErrToken)
	case c.Tunnel.AccountTag == "":
		return fmt.Errorf("%w: claim tun.account_tag is missing", ErrToken)
	case c.Actor.ID == "":
		return fmt.Errorf("%w: claim actor.id is missing", ErrToken)
	}
	return nil
}

// Allows reports whether a token that this project's edge signed gives access to a path of the service.
func (c *Claims) Allows(path string) bool {
	has := func(resource string) bool { return slices.Contains(c.Resources, resource) }
	switch {
	case has(ResourceAdmin):
		return true
	case path == PathPing:
		return len(c.Resources) > 0
	case path == PathLogs:
		return has(ResourceLogs)
	case path == PathHostDetails:
		return has(ResourceHostDetails) || has(ResourceLogs)
	}
	return false
}

// ReadToken reads the claims of a token without a check of its signature or its times: whoever received it from an edge relies on
// that edge to have checked them. An error is ErrToken.
func ReadToken(text string) (*Claims, error) {
	claims := &Claims{}
	if len(text) > maxToken {
		return nil, fmt.Errorf("%w: more than %d bytes", ErrToken, maxToken)
	}
	token, parts, err := jwt.NewParser().ParseUnverified(text, claims)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrToken, err)
	}
	if token.Method != jwt.SigningMethodES256 {
		return nil, fmt.Errorf("%w: algorithm %s is not ES256", ErrToken, token.Method.Alg())
	}
	if len(parts) != 3 || parts[2] == "" {
		return nil, fmt.Errorf("%w: no signature", ErrToken)
	}
	return claims, claims.Validate()
}

// CheckToken reads the claims of a token that must be signed with the private half of key and be valid now. An error is ErrToken.
func CheckToken(text string, key *ecdsa.PublicKey, now time.Time) (*Claims, error) {
	return check(text, key, jwt.WithTimeFunc(func() time.Time { return now }), jwt.WithExpirationRequired())
}

// CheckSignature is CheckToken without a look at the times of the token: the edge that sent it has compared them with its clock, from
// which the connector's may differ.
func CheckSignature(text string, key *ecdsa.PublicKey) (*Claims, error) {
	claims, err := check(text, key, jwt.WithoutClaimsValidation())
	if err != nil {
		return nil, err
	}
	return claims, claims.Validate()
}

func check(text string, key *ecdsa.PublicKey, opts ...jwt.ParserOption) (*Claims, error) {
	claims := &Claims{}
	if len(text) > maxToken || strings.Count(text, ".") != 2 {
		return nil, fmt.Errorf("%w: malformed", ErrToken)
	}
	opts = append(opts, jwt.WithValidMethods([]string{jwt.SigningMethodES256.Alg()}))
	if _, err := jwt.NewParser(opts...).ParseWithClaims(text, claims, func(*jwt.Token) (any, error) { return key, nil }); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrToken, err)
	}
	return claims, nil
}

// Sign makes a token of the claims.
func Sign(claims *Claims, key *ecdsa.PrivateKey) (string, error) {
	text, err := jwt.NewWithClaims(jwt.SigningMethodES256, claims).SignedString(key)
	if err != nil {
		return "", fmt.Errorf("%w: %w", ErrToken, err)
	}
	return text, nil
}

// KeyText is a public key as it travels in a request (docs/extensions.md).
func KeyText(key *ecdsa.PublicKey) (string, error) {
	b, err := key.Bytes()
	if err != nil {
		return "", fmt.Errorf("%w: %w", ErrToken, err)
	}
	return base64.RawURLEncoding.EncodeToString(b), nil
}

// ParseKey reads what KeyText made.
func ParseKey(text string) (*ecdsa.PublicKey, error) {
	b, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil {
		return nil, fmt.Errorf("%w: key: %w", ErrToken, err)
	}
	key, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), b)
	if err != nil {
		return nil, fmt.Errorf("%w: key: %w", ErrToken, err)
	}
	return key, nil
}
