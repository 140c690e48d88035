package httpfield

// spellings are the two forms of a name.
type spellings struct{ canonical, lower string }

// common finds the names that nearly all requests and responses use, in either spelling.
var common = commonSpellings() //nolint:gochecknoglobals // a table

func commonSpellings() map[string]spellings {
	m := make(map[string]spellings)
	for name := range Common {
		b := []byte(name)
		for i := range b {
			b[i] = lower(b[i])
		}
		s := spellings{name, string(b)}
		m[s.canonical], m[s.lower] = s, s
	}
	return m
}

// Common yields the canonical names of common fields, for tables that avoid allocations.
func Common(yield func(canonical string) bool) {
	for _, name := range [...]string{
		"Accept", "Accept-Encoding", "Accept-Language", "Accept-Ranges", "Access-Control-Allow-Credentials",
		"Access-Control-Allow-Headers", "Access-Control-Allow-Methods", "Access-Control-Allow-Origin",
		"Access-Control-Expose-Headers", "Access-Control-Max-Age", "Access-Control-Request-Headers",
		"Access-Control-Request-Method", "Age", "Allow", "Alt-Svc", "Authorization", "Cache-Control", "Cdn-Loop",
		"Cf-Connecting-Ip", "Cf-Ipcountry", "Cf-Ray", "Cf-Visitor", "Cf-Warp-Tag-Id", "Connection", "Content-Disposition",
		"Content-Encoding", "Content-Language", "Content-Length", "Content-Location", "Content-Range",
		"Content-Security-Policy", "Content-Type", "Cookie", "Cross-Origin-Embedder-Policy", "Cross-Origin-Opener-Policy",
		"Cross-Origin-Resource-Policy", "Date", "Dnt", "Etag", "Expect", "Expires", "Forwarded", "From", "Grpc-Encoding",
		"Grpc-Message", "Grpc-Status", "Grpc-Timeout", "If-Match", "If-Modified-Since", "If-None-Match", "If-Range",
		"If-Unmodified-Since", "Keep-Alive", "Last-Modified", "Link", "Location", "Max-Forwards", "Origin", "Permissions-Policy",
		"Pragma", "Priority", "Range", "Referer", "Referrer-Policy", "Retry-After", "Sec-Ch-Ua", "Sec-Ch-Ua-Mobile",
		"Sec-Ch-Ua-Platform", "Sec-Fetch-Dest", "Sec-Fetch-Mode", "Sec-Fetch-Site", "Sec-Fetch-User", "Sec-Gpc",
		"Sec-Websocket-Accept", "Sec-Websocket-Extensions", "Sec-Websocket-Key", "Sec-Websocket-Protocol",
		"Sec-Websocket-Version", "Server", "Server-Timing", "Set-Cookie", "Strict-Transport-Security", "Te", "Traceparent",
		"Tracestate", "Trailer", "Transfer-Encoding", "Upgrade", "Upgrade-Insecure-Requests", "User-Agent", "Vary", "Via",
		"Www-Authenticate", "X-Cache", "X-Content-Type-Options", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto",
		"X-Frame-Options", "X-Powered-By", "X-Request-Id", "X-Requested-With", "X-Xss-Protection",
	} {
		if !yield(name) {
			return
		}
	}
}
