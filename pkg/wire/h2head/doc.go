// Package h2head maps requests and responses of the stream form (package stream) to the headers and trailers of HTTP/2
// and back (docs/spec/wire.md 9). Over HTTP/2 the edge is the client and the connector the server:
//
//	edge       EncodeRequest   ConnectRequest  -> request header
//	connector  DecodeRequest   request header  -> ConnectRequest
//	connector  EncodeResponse  ConnectResponse -> response header
//	edge       DecodeResponse  response header -> ConnectResponse
//	both       EncodeTrailers, DecodeTrailers
//
// Two request fields tell what kind of request it is:
//
//	cf-cloudflared-proxy-connection-upgrade   update-configuration | websocket | control-stream
//	cf-cloudflared-proxy-src                  anything: a TCP stream to :authority
//
// A response carries the origin's header in one value, so that HTTP/2 libraries on the way do not change it, and says
// whether the origin or the connector wrote the response:
//
//	cf-cloudflared-response-headers   block = item *( ";" item ), item = b64(name) ":" b64(value)
//	cf-cloudflared-response-meta      {"src":"origin"} | {"src":"cloudflared"} | ... ,"flow_rate_limited":true
//
// b64 is the standard alphabet without padding. Fields of Culvert's own (extension.go) are ignored by other peers.
//
// The package is pure: no network, no goroutine, no state. A header that it decodes was checked by the HTTP/2 layer:
// names and values are valid, pseudo-headers come first and only once.
package h2head
