package flow

import "github.com/culvert-tunnel/culvert/pkg/wire/stream"

// headerKey is the metadata key of a response header. Common names cost no memory.
func headerKey(name string) string {
	if key, ok := commonKeys[name]; ok {
		return key
	}
	return stream.HeaderPrefix + name
}

// commonKeys is a table of the keys of common response headers.
var commonKeys = keysOf( //nolint:gochecknoglobals // a table
	"Accept-Ranges", "Access-Control-Allow-Credentials", "Access-Control-Allow-Headers", "Access-Control-Allow-Methods",
	"Access-Control-Allow-Origin", "Access-Control-Expose-Headers", "Access-Control-Max-Age", "Age", "Allow", "Alt-Svc",
	"Cache-Control", "Content-Disposition", "Content-Encoding", "Content-Language", "Content-Length", "Content-Location",
	"Content-Range", "Content-Security-Policy", "Content-Type", "Cross-Origin-Embedder-Policy", "Cross-Origin-Opener-Policy",
	"Cross-Origin-Resource-Policy", "Date", "Etag", "Expires", "Last-Modified", "Link", "Location", "Permissions-Policy",
	"Pragma", "Referrer-Policy", "Retry-After", "Server", "Server-Timing", "Set-Cookie", "Strict-Transport-Security",
	"Vary", "Via", "Www-Authenticate", "X-Cache", "X-Content-Type-Options", "X-Frame-Options", "X-Powered-By",
	"X-Request-Id", "X-Xss-Protection",
)

func keysOf(names ...string) map[string]string {
	m := make(map[string]string, len(names))
	for _, n := range names {
		m[n] = stream.HeaderPrefix + n
	}
	return m
}
