// Package h1guard follows the framing of the requests on one HTTP/1 connection and refuses every byte that two readers
// could understand differently: it is what stands against request smuggling. A server behind it may be lenient, since
// it only ever sees requests with one reading.
//
// A request passes when it is, to the byte,
//
//	method SP target SP HTTP/1.0 or HTTP/1.1 CRLF
//	*( name ":" OWS value OWS CRLF )       no folded lines, no bare CR or LF, no control but a tab in a value
//	CRLF
//	body                                   none, Content-Length bytes, or chunks with trailers
//
// and when its head says in one way only where the body ends and which host is meant: Content-Length once, or repeated
// with the same number, or Transfer-Encoding with exactly "chunked", never both; Host once, and the same as in an
// absolute target.
//
// After a request that asks for a WebSocket or another protocol but h2c, and after the preface of HTTP/2 where that is allowed, bytes
// pass unseen.
// The server must not go back to HTTP/1 on such a connection: it either switches or closes.
//
// The package is pure: it is fed bytes in pieces of any size and keeps a few hundred bytes of state. It does not bound
// the size of heads and bodies, which is the server's business, and owns no goroutine.
package h1guard
