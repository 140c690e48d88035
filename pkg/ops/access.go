package ops

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/labstack/echo/v4"

	"github.com/culvert-tunnel/culvert/pkg/opstoken"
)

// Principal is who makes a request.
type Principal struct {
	// Name is that of the token, or says how the request came.
	Name string
	// Token is the id of the token; empty without one.
	Token string
	Scope opstoken.Scope
}

// base is the path of the API.
const base = "/v1"

// The principals without a token of an Authority.
const (
	NameFile  = "token file"        // the token of ops.token_file
	NameLocal = "this host"         // a change that needs no token where it comes from
	NameOpen  = "without a token"   // a read that needs none
	keyWho    = "culvert.principal" // of the principal in the context of a request
)

// Authority knows the tokens of a deployment.
type Authority interface {
	// Principal is whose token it is; false if it is none, has expired or was revoked.
	Principal(ctx context.Context, token string) (Principal, bool, error)
	// Guarded reports whether there is a token, or may be one: then requests from other hosts need one, reads too.
	Guarded(ctx context.Context) bool
}

// Scoper knows the scopes of its routes.
type Scoper interface {
	// Scope is what the route of a method needs; false if it is of another part.
	Scope(method, route string) (opstoken.Scope, bool)
}

// PrincipalOf is who makes a request that passed the guard.
func PrincipalOf(c echo.Context) Principal {
	who, _ := c.Get(keyWho).(Principal)
	return who
}

// scopeOf is what a request needs: by the table of the part that has the route. Of what no table has, reading needs Read and everything
// else Admin.
func (s *Server) scopeOf(c echo.Context) opstoken.Scope {
	method := c.Request().Method
	for _, table := range s.scopers {
		if scope, found := table.Scope(method, strings.TrimPrefix(c.Path(), base)); found {
			return scope
		}
	}
	if method == http.MethodGet || method == http.MethodHead {
		return opstoken.Read
	}
	return opstoken.Admin
}

// guard is the one place that decides who may do what below /v1. A token decides by its scope. Without one a request may read, unless it
// comes from another host where tokens are in use, and guardChanges decides about changes.
func (s *Server) guard(next echo.HandlerFunc) echo.HandlerFunc {
	changes := s.guardChanges(next)
	return func(c echo.Context) error {
		r := c.Request()
		if crossSite(r) {
			return echo.NewHTTPError(http.StatusForbidden, "requests of pages of other sites are refused")
		}
		needed := s.scopeOf(c)
		who, given, err := s.principal(r)
		if err != nil {
			return err
		}
		if !s.limits.allow(limitKey(r, who), costOf(r, given && who.Scope == "")) {
			c.Response().Header().Set("Retry-After", "1")
			return echo.NewHTTPError(http.StatusTooManyRequests, "too many requests of this token or address")
		}
		switch {
		case given && who.Scope == "":
			return unauthorized(c, tokenMissing)
		case given && !who.Scope.Allows(needed):
			return echo.NewHTTPError(http.StatusForbidden,
				fmt.Sprintf("the token %q has the scope %s, and this needs %s", who.Name, who.Scope, needed))
		case given:
			c.Set(keyWho, who)
			return next(c)
		case !isChange(r) && !isLocal(r) && !overSocket(r) && s.guarded(r.Context()):
			return unauthorized(c, "from another host this needs a token")
		}
		who = Principal{Name: NameOpen, Scope: opstoken.Read}
		if isChange(r) {
			who = Principal{Name: NameLocal, Scope: opstoken.Admin}
		}
		c.Set(keyWho, who)
		return changes(c)
	}
}

func unauthorized(c echo.Context, detail string) error {
	c.Response().Header().Set("WWW-Authenticate", "Bearer")
	return echo.NewHTTPError(http.StatusUnauthorized, detail)
}

func isChange(r *http.Request) bool { return r.Method != http.MethodGet && r.Method != http.MethodHead }

// principal is whose token a request carries. given says that it carries one where there may be some; the principal of one that is not
// known has no scope.
func (s *Server) principal(r *http.Request) (who Principal, given bool, err error) {
	token, bearer := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	file := s.cfg.TokenFile
	if !bearer || token == "" || file == "" && s.authority == nil {
		return Principal{}, false, nil
	}
	if file != "" && tokenGiven(file, r) {
		return Principal{Name: NameFile, Scope: opstoken.Admin}, true, nil
	}
	if s.authority == nil {
		return Principal{}, true, nil
	}
	who, known, err := s.authority.Principal(r.Context(), token)
	if err != nil || !known {
		return Principal{}, true, err
	}
	return who, true, nil
}

func (s *Server) guarded(ctx context.Context) bool {
	return s.cfg.TokenFile != "" || s.authority != nil && s.authority.Guarded(ctx)
}

// crossSite reports whether a page of another site in a browser made the request. Old browsers send no Sec-Fetch-Site, but an Origin with
// what is no simple read.
func crossSite(r *http.Request) bool {
	switch site := r.Header.Get("Sec-Fetch-Site"); site {
	case "cross-site", "same-site":
		return true
	case "":
	default:
		return false
	}
	origin := r.Header.Get("Origin")
	if origin == "" {
		return false
	}
	u, err := url.Parse(origin)
	return err != nil || !strings.EqualFold(u.Host, r.Host)
}
