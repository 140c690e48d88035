package access

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/json"
	"github.com/go-jose/go-jose/v4/jwt"
)

const (
	tokenHeader = "Cf-Access-Jwt-Assertion"
	tokenCookie = "CF_Authorization"
)

// Guard checks the tokens for one rule.
type Guard struct {
	ring      *Keyring
	keys      *keySet
	audiences []string
	broken    error // why no token can be checked
}

// Broken says why the guard refuses every request, or nil.
func (g *Guard) Broken() error { return g.broken }

// Check verifies the token of a request, whose header has canonical names: the one in Cf-Access-Jwt-Assertion, else the one in the cookie
// CF_Authorization. The error is a *RefusedError, or says that ctx ended.
func (g *Guard) Check(ctx context.Context, header http.Header) error {
	token := tokenOf(header)
	if g.broken != nil {
		return forbidden("%v", g.broken)
	}
	if token == "" {
		g.ring.missing.Inc()
		return forbidden("no access token in request") // the reference's text
	}
	err := g.verify(ctx, token)
	var refused *RefusedError
	switch {
	case err == nil:
		g.ring.passed.Inc()
	case errors.As(err, &refused) && refused.status == http.StatusServiceUnavailable:
		g.ring.unavailable.Inc()
	default:
		g.ring.refused.Inc()
	}
	return err
}

func tokenOf(header http.Header) string {
	if v := header.Get(tokenHeader); v != "" {
		return v
	}
	if len(header["Cookie"]) == 0 {
		return ""
	}
	c, err := (&http.Request{Header: header}).Cookie(tokenCookie)
	if err != nil {
		return ""
	}
	return c.Value
}

func (g *Guard) verify(ctx context.Context, token string) error {
	signed, err := jose.ParseSignedCompact(token, []jose.SignatureAlgorithm{jose.RS256, jose.ES256})
	if err != nil {
		// The error of the library could hold a part of the token.
		return forbidden("access token is malformed, or its algorithm is neither RS256 nor ES256")
	}
	head := signed.Signatures[0].Protected
	keys, err := g.keys.find(ctx, head.KeyID, jose.SignatureAlgorithm(head.Algorithm))
	if errors.Is(err, errKeyUnknown) {
		return forbidden("access token is %v", err)
	}
	if err != nil {
		return err
	}
	payload, ok := verified(signed, keys)
	if !ok {
		return forbidden("access token has a bad signature")
	}
	var claims jwt.Claims
	if json.Unmarshal(payload, &claims) != nil {
		return forbidden("access token has malformed claims")
	}
	return judge(&claims, g.keys.src.issuer, g.audiences, time.Now(), g.ring.cfg.Leeway)
}

// verified gives the payload if one of the keys has signed it.
func verified(signed *jose.JSONWebSignature, keys []jose.JSONWebKey) (payload []byte, ok bool) {
	for i := range keys {
		if payload, err := signed.Verify(keys[i].Key); err == nil {
			return payload, true
		}
	}
	return nil, false
}
