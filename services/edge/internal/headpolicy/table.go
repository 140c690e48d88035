package headpolicy

import (
	"strings"

	"github.com/culvert-tunnel/culvert/pkg/wire/httpfield"
	"github.com/culvert-tunnel/culvert/pkg/wire/stream"
)

// Names of fields that the edge reads or sets, in canonical form.
const (
	AcceptKey      = "Sec-Websocket-Accept"
	ClientKey      = "Sec-Websocket-Key"
	Connection     = "Connection"
	ConnectingIP   = "Cf-Connecting-Ip"
	ContentLength  = "Content-Length"
	Expect         = "Expect"
	Forwarded      = "Forwarded"
	ForwardedFor   = "X-Forwarded-For"
	ForwardedHost  = "X-Forwarded-Host"
	ForwardedProto = "X-Forwarded-Proto"
	Loop           = "Cdn-Loop"
	Ray            = "Cf-Ray"
	TE             = "Te"
	Trailer        = "Trailer"
	TransferCoding = "Transfer-Encoding"
	Upgrade        = "Upgrade"
	assertion      = "Cf-Access-Jwt-Assertion"
	destination    = "Cf-Access-Jump-Destination"
)

// Treatment is what the edge does with a request field of a visitor.
type Treatment uint8

// The treatments.
const (
	// Pass: the field reaches the origin as it came.
	Pass Treatment = iota
	// Trusted: an origin may believe the field, so only a trusted proxy may send it.
	Trusted
	// Drop: the field ends at the edge, or the edge writes it anew.
	Drop
)

// Of decides by a canonical name. Names count with "_" read as "-", since many application servers make no difference.
func Of(name string) Treatment {
	if r, ok := common[name]; ok {
		return r.treatment
	}
	return decide(name)
}

// decide is Of without the table of common names.
func decide(name string) Treatment {
	if strings.IndexByte(name, '_') >= 0 {
		name = httpfield.Canonical(strings.ReplaceAll(name, "_", "-"))
	}
	if httpfield.IsHopByHop(name) || httpfield.IsReservedInRequest(name) || httpfield.IsReservedInResponse(name) {
		return Drop
	}
	switch name {
	case ContentLength, Expect, ForwardedFor, ForwardedHost, ForwardedProto, ConnectingIP, Loop, Ray: // the edge writes them
		return Drop
	case "Host": // over HTTP/2 beside :authority
		return Drop
	case "Cf-Connecting-Ipv6", "Cf-Visitor", "Cf-Pseudo-Ipv4": // would contradict what the edge says
		return Drop
	case "Proxy": // becomes the variable HTTP_PROXY of CGI programs
		return Drop
	case assertion: // signed, so that an origin does not have to trust the edge
		return Pass
	case destination: // the client of a bastion names its destination, which the rules of the tunnel check
		return Pass
	case Forwarded, "X-Real-Ip", "True-Client-Ip", "X-Client-Ip", "X-Cluster-Client-Ip", "X-Original-Forwarded-For",
		"X-Original-Host", "X-Original-Url", "X-Rewrite-Url", "X-Url-Scheme", "Front-End-Https":
		return Trusted
	}
	switch {
	case name != "" && name[0] == ':': // a pseudo-header that net/http hands over as a field
		return Drop
	case strings.HasPrefix(name, "Cf-"), strings.HasPrefix(name, "X-Forwarded-"):
		return Trusted
	default:
		return Pass
	}
}

// DropsFromResponse decides by a canonical name what of a response does not reach a visitor: fields of one hop, and what
// connector and edge exchange (docs/spec/ingress.md 7.5).
func DropsFromResponse(name string) bool {
	return httpfield.IsHopByHop(name) || httpfield.IsReservedInResponse(name)
}

// rule is what the table of common names holds.
type rule struct {
	key       string // the metadata key
	treatment Treatment
}

// common spares the usual names an allocation and the decision.
var common = commonRules() //nolint:gochecknoglobals // a table that nothing changes

func commonRules() map[string]rule {
	m := make(map[string]rule)
	for name := range httpfield.Common {
		m[name] = rule{stream.HeaderPrefix + name, decide(name)}
	}
	return m
}
