// Package xconnect switches on extended CONNECT (RFC 8441) in net/http's HTTP/2 server, which WebSocket over HTTP/2
// needs. Importing it is all that a program has to do. The library reads the switch once, when it is initialised, from
// the environment; package early sets it right before, and this package, which is initialised right after, takes it out
// again (docs/adr/0013). The switch must be out before golang.org/x/net/http2 reads it too: the connector's HTTP/2
// server announces what the reference announces.
//
// It holds no state after the program's start and owns no goroutine.
package xconnect

import (
	_ "net/http" // initialised before this package

	"github.com/culvert-tunnel/culvert/services/edge/internal/xconnect/early"
)

func init() { //nolint:gochecknoinits // the order of initialisation is the point (docs/adr/0013)
	early.Restore()
}

// Protocol is the header under which net/http hands the :protocol of an extended CONNECT to a handler.
const Protocol = ":protocol"
