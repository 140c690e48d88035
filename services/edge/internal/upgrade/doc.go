// Package upgrade carries the streams of visitors that leave HTTP for a WebSocket or another protocol: it checks the handshake,
// takes the visitor's connection (HTTP/1) or stream (HTTP/2) over from the server, and copies bytes both ways until both ends are
// done.
//
// Streams bounds how many are open and ends them at shutdown; it is safe for concurrent use. A Stream owns one goroutine, for the
// bytes from the visitor, and Run waits for it.
package upgrade
