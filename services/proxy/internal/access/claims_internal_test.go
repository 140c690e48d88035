package access

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/culvert-tunnel/culvert/pkg/ingress"
)

func TestJudge(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	at := func(d time.Duration) *jwt.NumericDate { return jwt.NewNumericDate(now.Add(d)) }
	const leeway = 30 * time.Second
	good := jwt.Claims{Issuer: "https://i", Audience: jwt.Audience{"x", "b"}, Expiry: at(time.Minute)}
	for _, tc := range []struct {
		name   string
		change func(*jwt.Claims)
		want   string // part of the reason; empty passes
	}{
		{"good", func(*jwt.Claims) {}, ""},
		{"expired within the leeway", func(c *jwt.Claims) { c.Expiry = at(-leeway) }, ""},
		{"expired", func(c *jwt.Claims) { c.Expiry = at(-leeway - time.Second) }, "expired since 2023-11-14T22:12:49Z"},
		{"no expiry", func(c *jwt.Claims) { c.Expiry = nil }, "without a time of expiry"},
		{"starts within five minutes", func(c *jwt.Claims) { c.NotBefore = at(5 * time.Minute) }, ""},
		{"starts later", func(c *jwt.Claims) { c.NotBefore = at(5*time.Minute + time.Second) }, "not valid before"},
		{"issuer with a slash", func(c *jwt.Claims) { c.Issuer = "https://i/" }, "another issuer"},
		{"no issuer", func(c *jwt.Claims) { c.Issuer = "" }, "another issuer"},
		{"other audience", func(c *jwt.Claims) { c.Audience = jwt.Audience{"A"} }, "Invalid token in jwt: [A]"},
		{"no audience", func(c *jwt.Claims) { c.Audience = nil }, "Invalid token in jwt: []"},
		{"audience of a wider text", func(c *jwt.Claims) { c.Audience = jwt.Audience{"ab"} }, "Invalid token"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := good
			tc.change(&c)
			err := judge(&c, "https://i", []string{"a", "b"}, now, leeway)
			checkReason(t, err, 403, tc.want)
		})
	}
}

func checkReason(t *testing.T, err error, status int, want string) {
	t.Helper()
	var refused *RefusedError
	switch {
	case want == "" && err != nil:
		t.Errorf("refused: %v", err)
	case want == "":
	case !errors.As(err, &refused) || refused.Status() != status || !strings.Contains(err.Error(), want):
		t.Errorf("error %v, want status %d and %q", err, status, want)
	}
}

func TestNext(t *testing.T) {
	const refresh = time.Hour
	now := time.Unix(1_700_000_000, 0)
	ago := func(d time.Duration) time.Time { return now.Add(-d) }
	for _, tc := range []struct {
		name  string
		state state
		known bool
		want  step
	}{
		{"nothing was fetched yet", state{}, false, stepFetch},
		{"fresh keys", state{fetched: ago(0), attempted: ago(0)}, true, stepUse},
		{"old keys", state{fetched: ago(refresh), attempted: ago(refresh)}, true, stepRefresh},
		{"old keys, refresh just failed", state{fetched: ago(refresh), attempted: ago(time.Second), failed: true}, true, stepUse},
		{"old keys, refresh failed before", state{fetched: ago(refresh), attempted: ago(retryInterval), failed: true}, true, stepRefresh},
		{"unknown id soon after a fetch", state{fetched: ago(29 * time.Second), attempted: ago(29 * time.Second)}, false, stepRefuse},
		{"unknown id", state{fetched: ago(missInterval), attempted: ago(missInterval)}, false, stepFetch},
		{"first fetch just failed", state{attempted: ago(4 * time.Second), failed: true}, false, stepFail},
		{"first fetch failed before", state{attempted: ago(retryInterval), failed: true}, false, stepFetch},
		{"unknown id, last fetch just failed", state{fetched: ago(time.Minute), attempted: ago(0), failed: true}, false, stepFail},
	} {
		if got := next(tc.state, tc.known, refresh, now); got != tc.want {
			t.Errorf("%s: step %d, want %d", tc.name, got, tc.want)
		}
	}
}

func TestSourceOf(t *testing.T) {
	for _, tc := range []struct {
		access    ingress.Access
		byDefault string
		want      source
		fault     string
	}{
		{
			access: ingress.Access{TeamName: "acme"},
			want:   source{issuer: "https://acme.cloudflareaccess.com", keys: "https://acme.cloudflareaccess.com/cdn-cgi/access/certs"},
		},
		{
			access: ingress.Access{TeamName: "acme", Environment: "fed"},
			want:   source{issuer: "https://acme.fed.cloudflareaccess.com", keys: "https://acme.fed.cloudflareaccess.com/cdn-cgi/access/certs"},
		},
		{
			access: ingress.Access{TeamName: "acme"}, byDefault: "https://id.example.com/{team}",
			want: source{issuer: "https://id.example.com/acme", discovery: "https://id.example.com/acme/.well-known/openid-configuration"},
		},
		{
			access: ingress.Access{TeamName: "acme", Issuer: "https://id.example.com/"}, byDefault: "https://other.example.com",
			want: source{issuer: "https://id.example.com/", discovery: "https://id.example.com/.well-known/openid-configuration"},
		},
		{access: ingress.Access{}, fault: "neither a teamName nor an issuer"},
		{access: ingress.Access{TeamName: "evil.example/x"}, fault: "not a team name"},
		{access: ingress.Access{TeamName: "user@evil"}, fault: "not a team name"},
		{access: ingress.Access{Issuer: "http://id.example.com"}, fault: "not an https URL"},
		{access: ingress.Access{Issuer: "https://u:p@id.example.com"}, fault: "not an https URL"},
	} {
		got, err := sourceOf(&tc.access, tc.byDefault)
		if got != tc.want || (err != nil) != (tc.fault != "") || err != nil && !strings.Contains(err.Error(), tc.fault) {
			t.Errorf("%+v, default %q: %+v, %v, want %+v, %q", tc.access, tc.byDefault, got, err, tc.want, tc.fault)
		}
	}
}

func TestValidate(t *testing.T) {
	if err := Default().Validate(); err != nil {
		t.Errorf("the defaults: %v", err)
	}
	err := Config{Issuer: "http://{team}.test", Leeway: -1, Refresh: time.Second}.Validate()
	for _, want := range []string{"access: issuer:", "access: leeway:", "access: refresh:"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("no %q in: %v", want, err)
		}
	}
}
