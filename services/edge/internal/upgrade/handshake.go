package upgrade

import (
	"crypto/rand"
	"encoding/base64"
	"net/http"

	"github.com/culvert-tunnel/culvert/pkg/tunnel"
	"github.com/culvert-tunnel/culvert/pkg/wire/httpfield"
	"github.com/culvert-tunnel/culvert/pkg/wire/websocket"
	"github.com/culvert-tunnel/culvert/services/edge/internal/headpolicy"
)

// WebSocket is the name of the protocol in the fields Upgrade and :protocol.
const WebSocket = "websocket"

const keySize = 16

// NewKey makes the key that a handshake over HTTP/2 lacks (RFC 8441 5) and an origin over HTTP/1 needs.
func NewKey() string {
	var b [keySize]byte
	_, _ = rand.Read(b[:]) // never fails: crypto/rand ends the process instead
	return base64.StdEncoding.EncodeToString(b[:])
}

// Switched returns the protocol that a response to a request for other protocols than WebSocket switches to, or "": it must name one of
// those that the visitor asked for, which are the items of asked.
func Switched(status int, named []string, asked string) string {
	if status != http.StatusSwitchingProtocols || len(named) != 1 || !httpfield.HasToken(asked, named[0]) {
		return ""
	}
	return named[0]
}

// Accepted reports whether a response accepts the handshake with this key (RFC 6455 4.1). Over HTTP/2 status 101 travels as
// 200 (docs/spec/wire.md 9.4), so that only the accept key shows it.
func Accepted(status int, h http.Header, key string, p tunnel.Protocol) bool {
	switched := status == http.StatusSwitchingProtocols || (status == http.StatusOK && p == tunnel.HTTP2)
	return switched && key != "" && h.Get(headpolicy.AcceptKey) == websocket.AcceptKey(key)
}
