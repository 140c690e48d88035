package management

import (
	"encoding/json"
	"net/http"
	"net/http/pprof"
	"net/url"
	"strings"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/culvert-tunnel/culvert/pkg/management"
)

// siteSuffix ends the hosts whose pages may use the service.
const siteSuffix = ".cloudflare.com"

// tokenCode is the error code of a token that is refused.
const tokenCode = 1001

// hostDetails is the response of /host_details.
type hostDetails struct {
	Connector string `json:"connector_id"`
	IP        string `json:"ip,omitempty"`
	Hostname  string `json:"hostname,omitempty"`
}

// problem is the response to a request whose token is refused.
type problem struct {
	Errors []problemDetail `json:"errors"`
}

type problemDetail struct {
	Code    int    `json:"code"`
	Message string `json:"message"`
}

// refusal responds to a request whose token is refused.
func refusal(err error) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		writeJSON(w, http.StatusBadRequest, problem{[]problemDetail{{tokenCode, err.Error()}}})
	})
}

// route finds the handler of a path.
func (s *Service) route(r request) http.Handler {
	path, methods := r.URL.Path, []string{http.MethodGet}
	var h http.HandlerFunc
	switch {
	case path == management.PathPing:
		methods = append(methods, http.MethodHead)
		h = func(http.ResponseWriter, *http.Request) {}
	case path == management.PathHostDetails:
		h = func(w http.ResponseWriter, req *http.Request) {
			writeJSON(w, http.StatusOK, hostDetails{r.about.Connector.String(), s.ownIP(req.Context()), s.hostName()})
		}
	case path == management.PathMetrics && s.cfg.Diagnostics && s.gatherer != nil:
		h = promhttp.HandlerFor(s.gatherer, promhttp.HandlerOpts{}).ServeHTTP
	case s.cfg.Diagnostics && isProfile(path):
		h = pprof.Handler(strings.TrimPrefix(path, management.PathProfiles)).ServeHTTP
	case path == management.PathLogs:
		h = upgradeRequired
	default:
		return http.NotFoundHandler()
	}
	return crossOrigin(methods, h)
}

func isProfile(path string) bool {
	return path == management.PathProfiles+"heap" || path == management.PathProfiles+"goroutine"
}

// crossOrigin lets the pages of the vendor's dashboard read the response, and refuses other methods.
func crossOrigin(methods []string, h http.HandlerFunc) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Add("Vary", "Origin")
		allowed := false
		if origin := r.Header.Get("Origin"); ofSite(origin) {
			allowed = true
			w.Header().Set("Access-Control-Allow-Origin", origin)
			w.Header().Set("Access-Control-Allow-Credentials", "true")
		}
		for _, m := range methods {
			if r.Method == m {
				h(w, r)
				return
			}
		}
		if r.Method == http.MethodOptions && allowed && r.Header.Get("Access-Control-Request-Method") != "" {
			w.Header().Set("Access-Control-Allow-Methods", strings.Join(methods, ", "))
			w.Header().Set("Access-Control-Max-Age", "300")
			w.WriteHeader(http.StatusNoContent)
			return
		}
		w.Header().Set("Allow", strings.Join(methods, ", "))
		w.WriteHeader(http.StatusMethodNotAllowed)
	})
}

// ofSite reports whether an Origin is a page of the vendor's dashboard.
func ofSite(origin string) bool {
	host, ok := strings.CutPrefix(strings.ToLower(origin), "https://")
	return ok && strings.HasSuffix(host, siteSuffix) && len(host) > len(siteSuffix)
}

// sameSite reports whether a websocket comes from a page of the service's own host or of the dashboard, or from no page at all.
func sameSite(r *http.Request) bool {
	origin := r.Header.Get("Origin")
	if origin == "" {
		return true
	}
	u, err := url.Parse(origin)
	if err != nil {
		return false
	}
	host := strings.ToLower(u.Host)
	return strings.EqualFold(host, r.Host) || strings.HasSuffix(host, siteSuffix) && len(host) > len(siteSuffix)
}

func upgradeRequired(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Upgrade", "websocket")
	http.Error(w, "this path speaks websocket only", http.StatusUpgradeRequired)
}

func foreignOrigin(w http.ResponseWriter, _ *http.Request) {
	http.Error(w, "pages of this origin may not open a log stream", http.StatusForbidden)
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // the client left; the flow ends on its own
}
