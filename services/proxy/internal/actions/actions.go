package actions

import (
	"context"
	"net/http"
	"net/netip"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/ingress"
	"github.com/culvert-tunnel/culvert/services/proxy/internal/static"
)

// Actions are the actions of a rule with their state. They are safe for concurrent use.
type Actions struct {
	*ingress.Actions
	limiter   *Limiter
	passwords *Passwords
}

// New makes the actions of a rule, or nil for a rule without.
func New(a *ingress.Actions) *Actions {
	if a == nil {
		return nil
	}
	return &Actions{a, NewLimiter(a.Limits), NewPasswords(a.Users)}
}

// Refusal is a response in place of the origin's.
type Refusal struct {
	Status int
	Header [][2]string // names and values
	Reason string      // for the log
	// Checks says that too many passwords wait for their check.
	Checks bool
}

// Admit judges a request by its header, with canonical names, the visitor's address as the edge says it, which is not valid if it is
// unknown, and the length of the body, negative if it is not known. Without a refusal the caller calls leave at the end of the request;
// visitor is the address that counts.
func (a *Actions) Admit(
	ctx context.Context, header http.Header, direct netip.Addr, length int64,
) (visitor netip.Addr, leave func(), no *Refusal) {
	visitor = a.Visitor(direct, header["X-Forwarded-For"])
	if len(a.IPRules) > 0 {
		if allowed, _ := (ingress.Policy{Rules: a.IPRules}).Decide(visitor, 0); !allowed {
			return visitor, nil, &Refusal{Status: http.StatusForbidden, Reason: "visitor " + visitor.String() + " is denied by ipRules"}
		}
	}
	leave = func() {}
	if a.limiter != nil { // before passwords, whose checks are dear
		var v Verdict
		switch v, leave = a.limiter.Enter(visitor, time.Now()); v {
		case TooMany:
			return visitor, nil, busy(http.StatusServiceUnavailable, "too many requests in progress for the rule or the visitor")
		case TooFast:
			return visitor, nil, busy(http.StatusTooManyRequests, "too many requests per second for the rule or the visitor")
		case Pass:
		}
	}
	if no := a.judge(ctx, header, visitor, length); no != nil {
		leave()
		return visitor, nil, no
	}
	return visitor, leave, nil
}

// judge is the part of Admit after the limits.
func (a *Actions) judge(ctx context.Context, header http.Header, visitor netip.Addr, length int64) *Refusal {
	if a.passwords != nil {
		switch a.passwords.Check(ctx, header, visitor) {
		case Bad:
			return &Refusal{
				Status: http.StatusUnauthorized, Reason: "no user name with its password",
				Header: [][2]string{{"Www-Authenticate", `Basic realm="` + a.Realm + `", charset="UTF-8"`}},
			}
		case Busy:
			no := busy(http.StatusServiceUnavailable, "too many passwords of the rule or the visitor wait for their check")
			no.Checks = true
			return no
		case Good:
		}
	}
	if a.MaxBody >= 0 && length > a.MaxBody {
		return &Refusal{Status: http.StatusRequestEntityTooLarge, Reason: "request body exceeds maxBody"}
	}
	return nil
}

func busy(status int, reason string) *Refusal {
	return &Refusal{Status: status, Reason: reason, Header: [][2]string{{"Retry-After", "1"}}}
}

// Prepare makes the changes to the header that the origin sees. The credentials of basic authentication are not for the origin.
func (a *Actions) Prepare(h http.Header, v *ingress.Variables) {
	if a.passwords != nil {
		delete(h, "Authorization")
	}
	ingress.Apply(h, a.Request, v)
}

// Page is the file that the actions respond with, not open yet. Call it only if File is set.
func (a *Actions) Page() *static.Page {
	return &static.Page{File: a.File, Type: a.Type, Status: a.Status}
}

// Responds reports whether the actions respond themselves, and with what.
func (a *Actions) Responds(v *ingress.Variables) (status int, header [][2]string, body string, ok bool) {
	switch {
	case a.Status == 0:
		return 0, nil, "", false
	case a.Type == "": // a redirect
		return a.Status, [][2]string{{"Location", a.Location(v)}}, "", true
	}
	return a.Status, [][2]string{{"Content-Type", a.Type}}, a.Respond, true
}
