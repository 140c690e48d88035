package opstoken

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base32"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode"

	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

const (
	// prefix begins every token, so that programs that look for secrets in files find one.
	prefix = "cvt_"
	// idBytes and secretBytes are the random parts.
	idBytes, secretBytes = 8, 32
	maxName              = 64
	// Max is how many tokens a deployment may have.
	Max = 1000
	// MinLife is the shortest time that a token may live.
	MinLife = time.Minute
	// MaxLife is the longest one.
	MaxLife = 10 * 365 * 24 * time.Hour
)

// Token is what is kept of a token.
type Token struct {
	// ID is the part of the token that may be shown.
	ID    string `json:"id"`
	Name  string `json:"name"`
	Scope Scope  `json:"scope"`
	// Hash is the SHA-256 of the secret part, in hexadecimal.
	Hash    string    `json:"hash"`
	Created time.Time `json:"created_at"`
	// Expires is when it ends; zero is never.
	Expires time.Time `json:"expires_at,omitzero"`
	Author  string    `json:"author,omitempty"`
	// Used is when it was used last, to the minute; zero is never. It is stored apart.
	Used time.Time `json:"-"`
}

// Wanted is a token to make.
type Wanted struct {
	Name   string
	Scope  Scope
	Author string
	// Life is how long it lives; 0 is for ever.
	Life time.Duration
}

func encoding() *base32.Encoding {
	return base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)
}

// New makes a token, and the text that its holder sends, which is kept nowhere.
func New(w Wanted, now time.Time, entropy io.Reader) (Token, tunnel.Secret, error) {
	if err := w.validate(); err != nil {
		return Token{}, nil, err
	}
	random := make([]byte, idBytes+secretBytes)
	if _, err := io.ReadFull(entropy, random); err != nil {
		return Token{}, nil, fmt.Errorf("token: random source: %w", err)
	}
	t := Token{
		ID: encoding().EncodeToString(random[:idBytes]), Name: w.Name, Scope: w.Scope, Author: w.Author,
		Created: now.UTC().Truncate(time.Second),
	}
	if w.Life > 0 {
		t.Expires = t.Created.Add(w.Life)
	}
	secret := encoding().EncodeToString(random[idBytes:])
	t.Hash = hashOf(secret)
	return t, tunnel.Secret(prefix + t.ID + "_" + secret), nil
}

func (w Wanted) validate() error {
	var errs []error
	if w.Name == "" || len(w.Name) > maxName || strings.IndexFunc(w.Name, func(r rune) bool { return !unicode.IsPrint(r) }) >= 0 {
		errs = append(errs, fmt.Errorf("name: %q is not 1 to %d printable characters", w.Name, maxName))
	}
	errs = append(errs, w.Scope.Validate())
	if w.Life != 0 && (w.Life < MinLife || w.Life > MaxLife) {
		errs = append(errs, fmt.Errorf("expires: %v is not between %v and %v", w.Life, MinLife, MaxLife))
	}
	return errors.Join(errs...)
}

func hashOf(secret string) string {
	sum := sha256.Sum256([]byte(secret))
	return hex.EncodeToString(sum[:])
}

// Given is a token as a request carries it.
type Given struct {
	ID     string
	secret string
}

// ErrForm says that a text is no token of this package. It says nothing of the text.
var ErrForm = errors.New("token: it has not the form of one")

// ParseToken takes the text of a token apart.
func ParseToken(text string) (Given, error) {
	rest, found := strings.CutPrefix(text, prefix)
	id, secret, cut := strings.Cut(rest, "_")
	if !found || !cut || !random(id, idBytes) || !random(secret, secretBytes) {
		return Given{}, ErrForm
	}
	return Given{ID: id, secret: secret}, nil
}

// random reports whether text is the text of n bytes.
func random(text string, n int) bool {
	if len(text) != encoding().EncodedLen(n) {
		return false
	}
	b, err := encoding().DecodeString(text)
	return err == nil && len(b) == n
}

// Match reports whether g is this token, in a time that shows nothing of how much of it is right, and whether it still counts.
func (t Token) Match(g Given, now time.Time) bool {
	same := subtle.ConstantTimeCompare([]byte(t.Hash), []byte(hashOf(g.secret))) == 1
	return same && t.ID == g.ID && !t.Expired(now)
}

// Expired reports whether the token has ended.
func (t Token) Expired(now time.Time) bool { return !t.Expires.IsZero() && !now.Before(t.Expires) }

// Decode reads what is kept of a token. Fields of a later version are ignored.
func Decode(text []byte) (Token, error) {
	var t Token
	if err := json.Unmarshal(text, &t); err != nil {
		return Token{}, fmt.Errorf("stored token: %w", err)
	}
	if t.ID == "" || len(t.Hash) != 2*sha256.Size || t.Scope.Validate() != nil {
		return Token{}, errors.New("stored token: its id, hash or scope is none")
	}
	return t, nil
}
