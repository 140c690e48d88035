package ops

import (
	"crypto/sha256"
	"crypto/subtle"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"github.com/labstack/echo/v4"

	"github.com/culvert-tunnel/culvert/pkg/filewatch"
)

const maxTokenBytes = 4 << 10

// AnyHost turns the check of the Host off when it is one of the allowed names.
const AnyHost = "*"

// HostGuard passes requests on to next whose Host is the name of the loopback interface (localhost and names below it), an IP
// address, or one of names, with any port; the name AnyHost allows every Host. It refuses others with 403: a page in a browser on
// this host may resolve a name of its own to the address of a private listener, and would read the response as one of its own
// site (DNS rebinding).
func HostGuard(names []string, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !hostAllowed(r.Host, names) {
			WriteProblem(w, http.StatusForbidden, "host not allowed: use an IP address or localhost, or add the name to the allowed hosts")
			return
		}
		next.ServeHTTP(w, r)
	})
}

// hostAllowed reports whether the Host of a request is a loopback name, an IP literal or one of names. A request without a
// Host is allowed: only HTTP/1.0 permits that, which no browser sends.
func hostAllowed(host string, names []string) bool {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	host = strings.ToLower(strings.TrimSuffix(strings.Trim(host, "[]"), "."))
	if host == "" || host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return true
	}
	if _, err := netip.ParseAddr(host); err == nil {
		return true
	}
	return slices.ContainsFunc(names, func(n string) bool { return n == AnyHost || strings.EqualFold(strings.TrimSuffix(n, "."), host) })
}

// pageGuard refuses requests that a page of another site makes in a browser: it could not read a profile, but it could start one
// after the other.
func pageGuard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.Header.Get("Sec-Fetch-Site") {
		case "cross-site", "same-site":
			WriteProblem(w, http.StatusForbidden, "profiles are not for pages of other sites")
			return
		}
		next.ServeHTTP(w, r)
	})
}

// guardChanges refuses requests that change something, unless they carry the token or come over the Unix socket, which only this user and
// root may open. The address of a peer proves nothing: a rule for any destination (bastion, SOCKS, private networks) lets visitors open
// connections from this host.
func (s *Server) guardChanges(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		r := c.Request()
		switch file := s.cfg.TokenFile; {
		case r.Method == http.MethodGet || r.Method == http.MethodHead, file != "" && tokenGiven(file, r):
			return next(c)
		case overSocket(r):
			if reason := foreign(r); reason != "" {
				return echo.NewHTTPError(http.StatusForbidden, reason)
			}
			return next(c)
		case file != "":
			c.Response().Header().Set("WWW-Authenticate", "Bearer")
			return echo.NewHTTPError(http.StatusUnauthorized, tokenMissing+s.socketHint())
		}
		return echo.NewHTTPError(http.StatusForbidden, "changes over TCP need the token of ops.token_file"+s.socketHint())
	}
}

// foreign says why a request that changes something is not from an operator on this host, or is empty.
func foreign(r *http.Request) string {
	for _, name := range []string{"Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "Via", "Cf-Ray"} {
		if r.Header.Get(name) != "" {
			return "changes are not for requests through a proxy"
		}
	}
	switch site := r.Header.Get("Sec-Fetch-Site"); {
	case r.Header.Get("Origin") != "", site != "" && site != "none":
		return "changes are not for pages in a browser"
	case r.ContentLength != 0 && !strings.HasPrefix(r.Header.Get("Content-Type"), "application/json"):
		return "changes are application/json"
	}
	return ""
}

func isLocal(r *http.Request) bool {
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	return err == nil && peer.Addr().Unmap().IsLoopback()
}

// localGuard passes requests on to next that come from this host and name it as such.
func localGuard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !isLocal(r) || !hostAllowed(r.Host, nil) {
			WriteProblem(w, http.StatusForbidden, "profiles are only for requests from the connector's own host, to an IP address or localhost")
			return
		}
		next.ServeHTTP(w, r)
	})
}

const tokenMissing = "bearer token missing or wrong"

// tokenGuard passes requests on to next that carry the token in file as bearer token.
func tokenGuard(file string, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !tokenGiven(file, r) {
			w.Header().Set("WWW-Authenticate", "Bearer")
			WriteProblem(w, http.StatusUnauthorized, tokenMissing)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// tokenGiven reports whether a request carries the token in file. The file is read for each request, so that a replaced token counts at
// once.
func tokenGiven(file string, r *http.Request) bool {
	b, err := filewatch.ReadRegular(file, maxTokenBytes)
	token := strings.TrimSpace(string(b))
	given, bearer := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	want, got := sha256.Sum256([]byte(token)), sha256.Sum256([]byte(given)) // hashed: not even the length shows in the time taken
	return err == nil && token != "" && bearer && subtle.ConstantTimeCompare(want[:], got[:]) == 1
}
