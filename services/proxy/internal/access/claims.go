package access

import (
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/go-jose/go-jose/v4/jwt"
)

// notBeforeLeeway is how far the clock of an issuer may be ahead, as in the reference.
const notBeforeLeeway = 5 * time.Minute

// RefusedError says why a request was refused, and with which status: 403 for the request, 503 when the keys cannot be had.
type RefusedError struct {
	status int
	reason string
}

// Error is the reason, without any part of the token.
func (e *RefusedError) Error() string { return e.reason }

// Status is the status of the response.
func (e *RefusedError) Status() int { return e.status }

func forbidden(format string, args ...any) error {
	return &RefusedError{http.StatusForbidden, fmt.Sprintf(format, args...)}
}

// judge decides about the claims of a token whose signature is good.
func judge(c *jwt.Claims, issuer string, audiences []string, now time.Time, leeway time.Duration) error {
	switch {
	case c.Issuer != issuer:
		return forbidden("access token of another issuer: %q, want %q", c.Issuer, issuer)
	case c.Expiry == nil:
		return forbidden("access token without a time of expiry")
	case now.After(c.Expiry.Time().Add(leeway)):
		return forbidden("access token is expired since %s", c.Expiry.Time().UTC().Format(time.RFC3339))
	case c.NotBefore != nil && now.Before(c.NotBefore.Time().Add(-max(leeway, notBeforeLeeway))):
		return forbidden("access token is not valid before %s", c.NotBefore.Time().UTC().Format(time.RFC3339))
	case !slices.ContainsFunc(c.Audience, func(a string) bool { return slices.Contains(audiences, a) }):
		return forbidden("Invalid token in jwt: %v", []string(c.Audience)) // the reference's text
	}
	return nil
}
