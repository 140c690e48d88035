package front

import (
	"net/http"
	"net/textproto"
	"strconv"
	"strings"

	"golang.org/x/net/http/httpguts"

	"github.com/culvert-tunnel/culvert/pkg/wire/stream"
	"github.com/culvert-tunnel/culvert/services/edge/internal/xconnect"
)

// Headers that the edge sets itself.
const (
	headerForwardedFor   = "X-Forwarded-For"
	headerForwardedHost  = "X-Forwarded-Host"
	headerForwardedProto = "X-Forwarded-Proto"
	headerConnectingIP   = "Cf-Connecting-Ip"
)

// visitor is what the edge knows of a request besides its headers.
type visitor struct {
	ip     string
	scheme string
	ray    string
	// webSocket says that a WebSocket is asked for; key is ours, when the visitor's protocol has none.
	webSocket bool
	key       string
	// expects says that the connector is asked whether the body is wanted, and trailers names those behind the body.
	expects  bool
	trailers string
}

// headerKeys maps header names to metadata keys, so that the usual names cost no allocation.
type headerKeys map[string]string

func newHeaderKeys() headerKeys {
	k := make(headerKeys)
	for _, n := range []string{
		"Accept", "Accept-Encoding", "Accept-Language", "Authorization", "Cache-Control", "Cdn-Loop", "Content-Encoding",
		"Content-Length", "Content-Type", "Cookie", "Dnt", "Forwarded", "From", "If-Match", "If-Modified-Since", "If-None-Match",
		"If-Range", "Max-Forwards", "Origin", "Pragma", "Priority", "Range", "Referer",
		headerKey, "Sec-Websocket-Version", "Sec-Websocket-Extensions", "Sec-Websocket-Protocol", "Sec-Ch-Ua", "Sec-Ch-Ua-Mobile",
		"Sec-Ch-Ua-Platform", "Sec-Fetch-Dest", "Sec-Fetch-Mode", "Sec-Fetch-Site", "Sec-Fetch-User", "Sec-Gpc", "Te",
		"Expect", headerTrailer, "Traceparent", "Tracestate", "Transfer-Encoding", "Upgrade-Insecure-Requests", "User-Agent", "Via", "X-Requested-With",
		headerForwardedFor, headerForwardedHost, headerForwardedProto, headerConnectingIP, headerRay,
	} {
		k[n] = stream.HeaderPrefix + n
	}
	return k
}

func (k headerKeys) key(name string) string {
	if key, ok := k[name]; ok {
		return key
	}
	return stream.HeaderPrefix + name
}

// appendRequest appends the metadata of a visitor's request: everything that goes end to end, then what the edge says
// itself. bodyLength is -1 when it is not known.
func (k headerKeys) appendRequest(md []stream.Pair, r *http.Request, v visitor, bodyLength int64) []stream.Pair {
	method := r.Method
	if v.webSocket {
		method = http.MethodGet // also of an extended CONNECT
	}
	md = append(md, stream.Pair{Key: stream.KeyMethod, Val: method}, stream.Pair{Key: stream.KeyHost, Val: r.Host})
	named := r.Header["Connection"]
	for name, values := range r.Header {
		if dropRequestHeader(name) || (len(named) > 0 && namedIn(named, name)) || (v.key != "" && name == headerKey) {
			continue
		}
		key := k.key(name)
		for _, val := range values {
			md = append(md, stream.Pair{Key: key, Val: val})
		}
	}
	md = k.appendBody(md, r, v, bodyLength)
	forwarded := v.ip
	if prior := r.Header[headerForwardedFor]; len(prior) > 0 {
		forwarded = strings.Join(prior, ", ") + ", " + v.ip
	}
	return append(md,
		stream.Pair{Key: k.key(headerForwardedFor), Val: forwarded},
		stream.Pair{Key: k.key(headerForwardedProto), Val: v.scheme},
		stream.Pair{Key: k.key(headerForwardedHost), Val: r.Host},
		stream.Pair{Key: k.key(headerConnectingIP), Val: v.ip},
		stream.Pair{Key: k.key(headerRay), Val: v.ray},
	)
}

// appendBody appends what is said of the body, and of what may come behind it.
func (k headerKeys) appendBody(md []stream.Pair, r *http.Request, v visitor, bodyLength int64) []stream.Pair {
	if v.expects {
		md = append(md, stream.Pair{Key: k.key("Expect"), Val: "100-continue"})
	}
	if v.trailers != "" {
		md = append(md, stream.Pair{Key: k.key(headerTrailer), Val: v.trailers})
	}
	if httpguts.HeaderValuesContainsToken(r.Header["Te"], "trailers") {
		md = append(md, stream.Pair{Key: k.key("Te"), Val: "trailers"})
	}
	switch {
	case v.webSocket:
		if v.key != "" {
			md = append(md, stream.Pair{Key: k.key(headerKey), Val: v.key})
		}
	case bodyLength < 0:
		md = append(md, stream.Pair{Key: k.key("Transfer-Encoding"), Val: "chunked"})
	case bodyLength > 0, r.Header["Content-Length"] != nil:
		md = append(md, stream.Pair{Key: k.key("Content-Length"), Val: strconv.FormatInt(bodyLength, 10)})
	}
	return md
}

// dropRequestHeader decides by a canonical name what a visitor may not send: headers for one hop, headers that a
// connector trusts (docs/spec/ingress.md 1), and headers that the edge sets. An underscore counts as a hyphen, since many
// origins make no difference.
func dropRequestHeader(name string) bool {
	if strings.IndexByte(name, '_') >= 0 {
		name = textproto.CanonicalMIMEHeaderKey(strings.ReplaceAll(name, "_", "-"))
	}
	switch name {
	case "Connection", "Proxy-Connection", "Keep-Alive", "Proxy-Authenticate", "Proxy-Authorization", "Te", "Trailer",
		"Transfer-Encoding", "Upgrade", "Http2-Settings":
		return true
	case xconnect.Protocol: // no header
		return true
	case "Expect": // said anew when the connector answers it; else the edge does, when it asks for the body
		return true
	case "Content-Length": // said anew from what was understood
		return true
	case headerForwardedFor, headerForwardedHost, headerForwardedProto, headerConnectingIP, headerRay,
		"Cf-Connecting-Ipv6", "Cf-Visitor", "Cf-Trace-Id":
		return true
	}
	return strings.HasPrefix(name, "C") && (strings.HasPrefix(name, "Culvert-") ||
		strings.HasPrefix(name, "Cf-Cloudflared-") || strings.HasPrefix(name, "Cf-Int-") ||
		strings.HasPrefix(name, "Cf-Warp-Tag-") || strings.HasPrefix(name, "Cf-Proxy-"))
}

// namedIn reports whether a Connection header names the header.
func namedIn(connection []string, name string) bool {
	return httpguts.HeaderValuesContainsToken(connection, name)
}

// answer is the head of a connector's answer.
type answer struct {
	status int
	// length is the declared body length, or -1.
	length int64
}

// parseAnswer is parseHead for the final answer to a request.
func parseAnswer(h http.Header, md []stream.Pair) (answer, bool) {
	a, ok := parseHead(h, md)
	return a, ok && a.status >= http.StatusOK
}

// parseHead copies a response's metadata into h and reports false when it is no valid answer.
func parseHead(h http.Header, md []stream.Pair) (answer, bool) {
	a := answer{length: -1}
	values := make([]string, 0, len(md))
	for _, p := range md {
		name, isHeader := strings.CutPrefix(p.Key, stream.HeaderPrefix)
		if !isHeader {
			if p.Key == stream.KeyStatus && !a.setStatus(p.Val) {
				return a, false
			}
			continue
		}
		name = textproto.CanonicalMIMEHeaderKey(name)
		if name == "Content-Length" && !a.setLength(p.Val) {
			return a, false
		}
		if dropResponseHeader(name) || !httpguts.ValidHeaderFieldName(name) || !httpguts.ValidHeaderFieldValue(p.Val) {
			continue
		}
		if have, ok := h[name]; ok {
			if name != "Content-Length" {
				h[name] = append(have, p.Val)
			}
			continue
		}
		values = append(values, p.Val)
		h[name] = values[len(values)-1 : len(values) : len(values)]
	}
	dropNamed(h, connectionOf(md))
	if chunked(md) { // chunked wins over a length (docs/spec/ingress.md 7.7)
		delete(h, "Content-Length")
		a.length = -1
	}
	return a, a.status >= http.StatusContinue && a.status <= 999
}

// dropNamed removes the headers that Connection headers name.
func dropNamed(h http.Header, connection []string) {
	if len(connection) == 0 {
		return
	}
	for name := range h {
		if name != "Content-Length" && namedIn(connection, name) {
			delete(h, name)
		}
	}
}

// setStatus refuses what is no number.
func (a *answer) setStatus(val string) bool {
	n, err := strconv.Atoi(val)
	if err != nil {
		return false
	}
	a.status = n
	return true
}

// setLength refuses a length that is no number or differs from an earlier one.
func (a *answer) setLength(val string) bool {
	n, err := strconv.ParseUint(strings.TrimSpace(val), 10, 63)
	if err != nil || (a.length >= 0 && a.length != int64(n)) {
		return false
	}
	a.length = int64(n)
	return true
}

func connectionOf(md []stream.Pair) []string {
	var out []string
	for _, p := range md {
		if isHeader(p.Key, "Connection") {
			out = append(out, p.Val)
		}
	}
	return out
}

func chunked(md []stream.Pair) bool {
	for _, p := range md {
		if isHeader(p.Key, "Transfer-Encoding") {
			return true
		}
	}
	return false
}

// dropResponseHeader decides by a canonical name what does not reach a visitor: headers for one hop, and what connector
// and edge tell each other (docs/spec/ingress.md 7.5).
func dropResponseHeader(name string) bool {
	switch name {
	case "Connection", "Proxy-Connection", "Keep-Alive", "Proxy-Authenticate", "Proxy-Authorization", "Te", "Trailer",
		"Transfer-Encoding", "Upgrade":
		return true
	}
	return strings.HasPrefix(name, "C") && (strings.HasPrefix(name, "Culvert-") ||
		strings.HasPrefix(name, "Cf-Cloudflared-") || strings.HasPrefix(name, "Cf-Int-") || strings.HasPrefix(name, "Cf-Proxy-"))
}
