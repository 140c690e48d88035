// Package websock is the server end of a websocket within a flow, for services that are no HTTP: to the edge it speaks
// frames, to the proxy it is a plain byte stream (docs/spec/ingress.md 8.3).
//
// The client's messages, binary and text, of any size and however fragmented, become bytes as they come; what the proxy
// writes becomes binary messages, one per write. A ping gets a pong, and pings are sent at an interval. A client's close frame
// is the end of its bytes; the response to it waits until the proxy has no more to send, since nothing may follow it. A client
// that breaks the protocol gets a close frame that says so.
//
// A Server starts no goroutine; its timer runs until Finish, which waits for it. One goroutine may read while another
// writes.
package websock
