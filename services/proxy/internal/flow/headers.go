package flow

import (
	"fmt"
	"net/http"

	"github.com/culvert-tunnel/culvert/pkg/wire/httpfield"
)

// headerRule is how a request header is handled.
type headerRule uint8

const (
	passHeader       headerRule = iota
	dropHeader                  // the origin never sees it
	bodyHeader                  // describes the framing, which is made anew
	connectionHeader            // names others to drop
	teHeader                    // only "trailers" goes on
	agentHeader                 // its absence must be preserved as well
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
	case "Host":
		return dropHeader
	}
	if httpfield.IsHopByHop(name) || httpfield.IsReservedInRequest(name) {
		return dropHeader
	}
	return passHeader
}

// keepsInResponse is the rule for response headers (docs/spec/ingress.md D18, D19).
func keepsInResponse(name string) bool {
	return !httpfield.IsHopByHop(name) && !httpfield.IsReservedInResponse(name)
}

// dropNamed deletes the headers that the values of Connection name.
func dropNamed(h http.Header, connection []string) {
	for _, value := range connection {
		for name := range httpfield.Items(value) {
			if name = httpfield.Canonical(name); httpfield.IsNamed(connection, name) {
				delete(h, name)
			}
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
	if !httpfield.IsToken(name) || !httpfield.IsValue(value) {
		return Tag{}, fmt.Errorf("tag %q is not usable as a header", name)
	}
	return Tag{name: httpfield.Canonical("Cf-Warp-Tag-" + name), values: []string{value}}, nil
}
