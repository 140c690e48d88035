package ops

import (
	"crypto/sha256"
	"crypto/subtle"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"

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

// localGuard passes requests on to next that come from this host and name it as such.
func localGuard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		peer, err := netip.ParseAddrPort(r.RemoteAddr)
		if err != nil || !peer.Addr().Unmap().IsLoopback() || !hostAllowed(r.Host, nil) {
			WriteProblem(w, http.StatusForbidden, "profiles are only for requests from the connector's own host, to an IP address or localhost")
			return
		}
		next.ServeHTTP(w, r)
	})
}

// tokenGuard passes requests on to next that carry the token in file as bearer token. The file is read for each request, so that a
// replaced token counts at once.
func tokenGuard(file string, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, err := filewatch.ReadRegular(file, maxTokenBytes)
		token := strings.TrimSpace(string(b))
		given, bearer := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		want, got := sha256.Sum256([]byte(token)), sha256.Sum256([]byte(given)) // hashed: not even the length shows in the time taken
		if err != nil || token == "" || !bearer || subtle.ConstantTimeCompare(want[:], got[:]) != 1 {
			w.Header().Set("WWW-Authenticate", "Bearer")
			WriteProblem(w, http.StatusUnauthorized, "bearer token missing or wrong")
			return
		}
		next.ServeHTTP(w, r)
	})
}
