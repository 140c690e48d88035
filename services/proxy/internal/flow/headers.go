package flow

import (
	"fmt"
	"net/http"
	"strings"

	"github.com/culvert-tunnel/culvert/pkg/wire/stream"
)

// headerRule says what becomes of a request header.
type headerRule uint8

const (
	passHeader       headerRule = iota
	dropHeader                  // the origin never sees it
	bodyHeader                  // describes the framing, which is made anew
	connectionHeader            // names others to drop
	teHeader                    // only "trailers" goes on
	agentHeader                 // its absence must be kept, too
	trailerHeader               // announces trailers
)

// requestRule is the table of request headers by canonical name (docs/spec/ingress.md 7.1, D18, D19).
func requestRule(name string) headerRule {
	switch name {
	case "Content-Length", "Transfer-Encoding":
		return bodyHeader
	case "Connection":
		return connectionHeader
	case "Te":
		return teHeader
	case "User-Agent":
		return agentHeader
	case "Trailer":
		return trailerHeader
	case "Host", "Keep-Alive", "Proxy-Connection", "Proxy-Authenticate", "Proxy-Authorization", "Upgrade", "Cf-Trace-Id":
		return dropHeader
	}
	if hasFoldedPrefix(name, "Cf-Warp-Tag-") || hasFoldedPrefix(name, "Cf-Cloudflared-") || isOurs(name) {
		return dropHeader
	}
	return passHeader
}

// keepsInAnswer is the table of response headers by canonical name (docs/spec/ingress.md D18, D19).
func keepsInAnswer(name string) bool {
	switch name {
	case "Connection", "Keep-Alive", "Proxy-Connection", "Proxy-Authenticate", "Proxy-Authorization", "Te", "Trailer", "Transfer-Encoding", "Upgrade":
		return false
	}
	return !hasFoldedPrefix(name, "Cf-Int-") && !hasFoldedPrefix(name, "Cf-Cloudflared-") && !hasFoldedPrefix(name, "Cf-Proxy-") &&
		!isOurs(name)
}

// isOurs reports whether a name could be taken for one of the extension's own (docs/extensions.md), which are metadata and
// never headers.
func isOurs(name string) bool {
	return hasFoldedPrefix(name, "Culvert-") || strings.EqualFold(name, stream.KeyAccept) ||
		strings.EqualFold(name, stream.KeyBody) || strings.EqualFold(name, stream.KeyClient)
}

// hasFoldedPrefix is a prefix test in any letter case that takes "_" for "-": servers that turn headers into environment
// variables do not tell the two apart.
func hasFoldedPrefix(name, prefix string) bool {
	if len(name) < len(prefix) {
		return false
	}
	for i := 0; i < len(prefix); i++ {
		c, want := name[i], prefix[i]
		if c == '_' {
			c = '-'
		}
		if c != want && lower(c) != lower(want) {
			return false
		}
	}
	return true
}

func lower(c byte) byte {
	if c >= 'A' && c <= 'Z' {
		return c + ('a' - 'A')
	}
	return c
}

// dropNamed deletes the headers that a Connection value names. What the edge vouches for stays: a visitor must not be
// able to remove it by naming it.
func dropNamed(h http.Header, value string) {
	for name := range strings.SplitSeq(value, ",") {
		name = http.CanonicalHeaderKey(strings.TrimSpace(name))
		if !hasFoldedPrefix(name, "Cf-") && !hasFoldedPrefix(name, "X-Forwarded-") && name != "Te" {
			delete(h, name)
		}
	}
}

// Tag is a connector tag as the header that carries it.
type Tag struct {
	name   string
	values []string
}

// NewTag checks a tag's name and value.
func NewTag(name, value string) (Tag, error) {
	if !isToken(name) || !isFieldValue(value) {
		return Tag{}, fmt.Errorf("tag %q is not usable as a header", name)
	}
	return Tag{name: http.CanonicalHeaderKey("Cf-Warp-Tag-" + name), values: []string{value}}, nil
}
