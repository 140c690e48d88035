package h2head

import (
	"fmt"

	"github.com/culvert-tunnel/culvert/pkg/wire/httpfield"
)

// Fields of the protocol, as they are on the wire.
const (
	Upgrade = "cf-cloudflared-proxy-connection-upgrade"
	Source  = "cf-cloudflared-proxy-src"
	Block   = "cf-cloudflared-response-headers"
	Meta    = "cf-cloudflared-response-meta"
	Tracing = "cf-int-cloudflared-tracing"
	TraceID = "cf-trace-id"
)

// Values of Upgrade.
const (
	UpgradeConfiguration = "update-configuration"
	UpgradeWebSocket     = "websocket"
	UpgradeControl       = "control-stream"
)

// Kind is what a request is for.
type Kind int

// The kinds of requests.
const (
	HTTP Kind = iota
	WebSocket
	TCP
	Control
	Configuration
)

// String names the kind for logs.
func (k Kind) String() string {
	switch k {
	case HTTP:
		return "http"
	case WebSocket:
		return "websocket"
	case TCP:
		return "tcp"
	case Control:
		return "control stream"
	case Configuration:
		return "configuration"
	default:
		return fmt.Sprintf("Kind(%d)", int(k))
	}
}

// Classify derives the kind from the first values of Upgrade and Source. TCP wins over the control stream.
func Classify(upgrade, source string) Kind {
	switch {
	case upgrade == UpgradeConfiguration:
		return Configuration
	case upgrade == UpgradeWebSocket:
		return WebSocket
	case source != "":
		return TCP
	case upgrade == UpgradeControl:
		return Control
	default:
		return HTTP
	}
}

// KindOf classifies a request header.
func KindOf(header []httpfield.Field) Kind {
	var upgrade, source string
	for i := range header {
		switch header[i].Name {
		case Upgrade:
			upgrade = first(upgrade, header[i].Value)
		case Source:
			source = first(source, header[i].Value)
		}
	}
	return Classify(upgrade, source)
}

// StatusOf gives the :status of a response header, or "". It is always the first field.
func StatusOf(header []httpfield.Field) string {
	if len(header) > 0 && header[0].Name == ":status" {
		return header[0].Value
	}
	return ""
}

// first gives the first of two values that is not empty.
func first(have, val string) string {
	if have != "" {
		return have
	}
	return val
}
