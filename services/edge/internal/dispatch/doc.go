// Package dispatch sends the requests of visitors, of hosts and of ports alike, to connectors: it chooses a connection of the
// tunnel, opens a stream, writes the head of the request and reads the head of the response.
//
// # When a request is sent again
//
// A failed attempt is followed by one on another connection, at most MaxAttempts in all, when the failure shows that no
// origin can have seen the request, or when it does no harm to repeat it:
//
//   - The stream could not be opened, or the connection was lost before the head was written whole: a connector does not
//     act on a part of a head.
//   - The connector refused before it looked for an origin: it carries as many flows as it accepts, or is one of ours and
//     says 503. Another connection may lead to another connector of the tunnel. Connectors of ours promise this of 503
//     (docs/spec/wire.md 5.4); the caller must not have sent any part of a body.
//   - The connection was lost before a response, and the caller says that the request is repeatable (RFC 9110 9.2.2).
//   - The connection came into doubt before a response (package registry/doubt): nothing at all arrives from it. A repeatable request
//     leaves it for one that is not in doubt, if there is one (First). A slow origin is no reason, since the transport of a living
//     connector responds by itself.
//
// A connection of the tunnel that has MaxInFlight requests is refused without an attempt elsewhere, since Pick chooses the
// one with the fewest. So is a head that exceeds a limit: it would exceed the limit of the next connector as well.
//
// The package starts no goroutine. A Sender is safe for concurrent use.
package dispatch
