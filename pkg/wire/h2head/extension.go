package h2head

import "github.com/culvert-tunnel/culvert/pkg/wire/httpfield"

// Fields of Culvert's own (docs/extensions.md). They stand for metadata keys of the stream form that are not headers.
const (
	acceptField = "culvert-accept" // request: what the edge accepts (stream.KeyAccept); frames are implied
	// upgradeField is in the request for a protocol other than WebSocket (stream.KeyUpgrade).
	upgradeField = "culvert-upgrade"
	// managementField is in the request for the management host (stream.KeyManagement).
	managementField = "culvert-management"
	bodyField       = "culvert-body"   // request: the body is framed (stream.KeyBody) although no Trailer field announces trailers
	statusField     = "culvert-status" // response: the status that goes with an error of the connector
	errorField      = "culvert-error"  // response: the error's text, for an edge that sent acceptField
)

// staysOffWire reports whether a header of a visitor or an origin must not become a field of HTTP/2: HTTP/2 forbids it,
// or the field has a meaning between edge and connector, which neither end may forge.
func staysOffWire(name string) bool {
	switch name {
	case Upgrade, Source, acceptField, upgradeField, managementField, bodyField, statusField, errorField:
		return true
	}
	return httpfield.IsConnectionSpecific(name)
}
