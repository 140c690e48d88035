package stream

import "strings"

// Metadata keys of the extension of the stream form (docs/extensions.md). A peer that does not know them ignores them;
// they are never headers.
const (
	// KeyAccept lists, in a request, what the edge accepts in the response: AcceptFrames, AcceptInterim.
	KeyAccept = "CulvertAccept"
	// KeyBody gives the format of the body that follows: BodyFrames or BodyNone. Without it the body is plain bytes.
	KeyBody = "CulvertBody"
	// KeyManagement is, in a request for the management host, the public key of the edge that signed its access token.
	KeyManagement = "CulvertManagement"
	// KeyUpgrade is, in a request of type WebSocket, the value of Upgrade for another protocol than WebSocket.
	KeyUpgrade = "CulvertUpgrade"
	// KeyClient is, in a TCP request, the visitor's address as ip:port.
	KeyClient = "CulvertClient"
)

// Items of KeyAccept.
const (
	// AcceptFrames means that the response's body may be framed, or be announced as absent.
	AcceptFrames = "frames"
	// AcceptInterim means that responses with a status of 100 to 199 (never 101) may precede the final one.
	AcceptInterim = "interim"
)

// MaxInterim bounds the interim responses that may precede a final one.
const MaxInterim = 16

// Values of KeyBody.
const (
	// BodyFrames means that the body is a sequence of frames.
	BodyFrames = "frames"
	// BodyNone means, in a response, that FIN follows at once.
	BodyNone = "none"
)

// Lookup gives the value of a metadata key. If the key is repeated the last value counts, as everywhere on this wire.
func Lookup(pairs []Pair, key string) (val string, ok bool) {
	for i := len(pairs) - 1; i >= 0; i-- {
		if pairs[i].Key == key {
			return pairs[i].Val, true
		}
	}
	return "", false
}

// Accepts reports whether the comma list of a KeyAccept value has an item. Items are compared exactly; unknown ones are
// ignored.
func Accepts(list, item string) bool {
	for len(list) > 0 {
		var head string
		head, list, _ = strings.Cut(list, ",")
		if strings.Trim(head, " ") == item {
			return true
		}
	}
	return false
}
