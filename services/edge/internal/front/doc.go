// Package front is the public side: HTTP/1.1 and HTTP/2 listeners, and the exchange that carries one request to a
// connector and its answer back, streaming both ways.
//
// A request goes: host -> tunnel -> connection with the fewest requests in flight -> stream -> ConnectRequest, body to
// FIN; the answer comes: ConnectResponse, body to FIN (docs/spec/wire.md 5). A body that breaks off is never made to look
// complete, in either direction.
//
// Run owns the servers; each exchange owns one goroutine for the request body, if there is one, and waits for it.
package front
