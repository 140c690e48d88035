// Package h1codec is the codec for HTTP/1.x responses as a client reads them: the end of a head, its fields, how the body is framed
// (RFC 9112), and chunked bodies. Heads are accepted as net/http accepts them, with a few refusals more: what two readers could
// read in two ways is an error.
//
// It is pure: no network, no clock, no goroutine. It allocates only what it returns. A Scanner and a Dechunker belong to one
// response each.
package h1codec
