// Package front serves HTTP to visitors: it carries each request to a connector of the host's tunnel and the response back,
// both streaming. Package visitorconn faces the visitors' connections, upgrade carries WebSockets, dispatch chooses a connector,
// and headpolicy decides which header fields pass.
//
// A request goes: host, tunnel, connection with the fewest requests in flight, stream, ConnectRequest, body, FIN. The
// response comes: ConnectResponse, body, FIN (docs/spec/wire.md 5). A body that breaks off never looks complete, in either
// direction.
//
// Run owns the servers. Each round trip owns one goroutine for the request's body, if there is one, and waits for it.
package front
