package front

import (
	"html/template"
	"io"
	"net/http"
	"strconv"
	"strings"

	"github.com/culvert-tunnel/culvert/services/edge/internal/headpolicy"
)

// problem is a response of the edge itself.
type problem struct {
	status int
	// code is for machines; it is also the header Culvert-Error.
	code  string
	title string
	text  string
}

const headerError = "Culvert-Error"

// retryAfter is the seconds after which a visitor's client may try again what cannot be served now: the places of requests become free
// all the time, and a connector comes back within seconds.
const retryAfter = "1"

// The error pages. They say what is wrong and show no internal addresses.
func badHost() *problem {
	return &problem{http.StatusBadRequest, "bad_host", "Bad host name", "The host name of this request is not well formed."}
}

func unknownHost() *problem {
	return &problem{http.StatusNotFound, "unknown_host", "Unknown host", "No tunnel serves this host name here."}
}

func noConnector() *problem {
	return &problem{http.StatusServiceUnavailable, "no_connector", "Tunnel is down", "The tunnel of this site has no connector at the moment."}
}

func connectorLost() *problem {
	return &problem{http.StatusBadGateway, "connector_lost", "Connection lost", "The connection to the site was lost before it responded."}
}

func connectorError() *problem {
	return &problem{http.StatusBadGateway, "connector_error", "No valid response", "The connector sent no valid response."}
}

func originUnreachable() *problem {
	return &problem{http.StatusBadGateway, "origin_unreachable", "Site unreachable", "The connector got no response from the site behind it."}
}

// connectorRefusal is the page for a status that came with a connector's error.
func connectorRefusal(status string) (*problem, bool) {
	switch status {
	case "400":
		return &problem{http.StatusBadRequest, "bad_request", "Bad request", "The connector could not read this request."}, true
	case "403":
		return &problem{
			http.StatusForbidden, "policy_denied", "Not allowed",
			"The connector is not allowed to reach the site of this request.",
		}, true
	case "431":
		return headTooLarge(), true
	case "501":
		return &problem{
			http.StatusNotImplemented, "kind_unsupported", "Not available",
			"The connector does not carry requests of this kind.",
		}, true
	case "503":
		return &problem{
			http.StatusServiceUnavailable, "connector_unavailable", "Site unavailable",
			"The connector cannot take requests at the moment.",
		}, true
	case "504":
		return originTimeout(), true
	default:
		return nil, false
	}
}

func flowLimited() *problem {
	return &problem{http.StatusServiceUnavailable, "flow_limited", "Too many requests", "The connector has as many requests as it accepts."}
}

func originTimeout() *problem {
	return &problem{http.StatusGatewayTimeout, "origin_timeout", "No response in time", "The site did not respond in time."}
}

func tooManyWebSockets() *problem {
	return &problem{
		http.StatusServiceUnavailable, "websocket_limited", "Too many connections",
		"This edge has as many WebSocket connections as it accepts.",
	}
}

func noWebSocket() *problem {
	return &problem{http.StatusBadGateway, "websocket_refused", "No WebSocket here", "The site responded, but not with a WebSocket."}
}

func headTooLarge() *problem {
	return &problem{
		http.StatusRequestHeaderFieldsTooLarge, "head_too_large", "Request head too large",
		"This request has more header fields, or larger ones, than this edge accepts.",
	}
}

func targetTooLong() *problem {
	return &problem{
		http.StatusRequestURITooLong, "target_too_long", "Address too long",
		"The target of this request is longer than this edge accepts.",
	}
}

func loopDetected() *problem {
	return &problem{
		http.StatusLoopDetected, "loop_detected", "Loop",
		"This request has passed this edge too often: the site leads back to it.",
	}
}

func upgradeUnsupported() *problem {
	return &problem{
		http.StatusNotImplemented, "upgrade_unsupported", "Protocol not available",
		"This site cannot be reached with the protocol that the request asks for.",
	}
}

func methodNotAllowed() *problem {
	return &problem{http.StatusMethodNotAllowed, "method_not_allowed", "Method not allowed", "This edge does not pass this method on."}
}

// refused is the page for a body that the guard refused with a status.
func refused(status int) *problem {
	if status == http.StatusRequestHeaderFieldsTooLarge {
		return headTooLarge()
	}
	return malformed()
}

func malformed() *problem {
	return &problem{http.StatusBadRequest, "malformed", "Malformed request", "This request is not well formed."}
}

func methodUnsupported() *problem {
	return &problem{http.StatusNotImplemented, "method_unsupported", "Method is not available", "This edge does not carry CONNECT requests."}
}

const pageHTML = `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{.Status}} {{.Title}}</title>
<style>body{font:16px/1.5 system-ui,sans-serif;max-width:36em;margin:15vh auto;padding:0 1em;color:#222;background:#fff}
h1{font-size:1.6em;margin-bottom:.2em}code{color:#555}
@media(prefers-color-scheme:dark){body{color:#ddd;background:#181818}code{color:#aaa}}</style>
</head><body><h1>{{.Title}}</h1><p>{{.Text}}</p>{{with .Detail}}<p><code>{{.}}</code></p>{{end}}
<p><code>{{.Status}} {{.Code}} &middot; request {{.Request}}</code></p></body></html>
`

func newPage() *template.Template { return template.Must(template.New("page").Parse(pageHTML)) }

// write sends the page in the form that the visitor reads, HTML or text. It shows detail unless that is empty.
func (p *problem) write(page *template.Template, w http.ResponseWriter, r *http.Request, requestID, detail string) {
	var body strings.Builder
	h := w.Header()
	if acceptsHTML(r) {
		h.Set("Content-Type", "text/html; charset=utf-8")
		_ = page.Execute(&body, map[string]any{ // the template is fixed, and a Builder never fails
			"Status": p.status, "Title": p.title, "Text": p.text, "Code": p.code, "Request": requestID, "Detail": detail,
		})
	} else {
		h.Set("Content-Type", "text/plain; charset=utf-8")
		body.WriteString(strconv.Itoa(p.status) + " " + p.title + "\n" + p.text + "\n")
		if detail != "" {
			body.WriteString(detail + "\n")
		}
		body.WriteString("error: " + p.code + "\nrequest: " + requestID + "\n")
	}
	h.Set("Content-Length", strconv.Itoa(body.Len()))
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set(headerError, p.code)
	if p.status == http.StatusServiceUnavailable {
		h.Set("Retry-After", retryAfter)
	}
	h.Set(headpolicy.Ray, requestID)
	w.WriteHeader(p.status)
	if r.Method != http.MethodHead {
		_, _ = io.WriteString(w, body.String()) // if it fails the visitor has left
	}
}

func acceptsHTML(r *http.Request) bool {
	for _, v := range r.Header["Accept"] {
		if strings.Contains(v, "text/html") {
			return true
		}
	}
	return false
}
