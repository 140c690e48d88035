// Package h2head is what the heads of HTTP/2 requests and answers between connector and edge mean (docs/spec/wire.md 9).
//
// Every request comes from the edge. Its kind is told by two headers:
//
//	cf-cloudflared-proxy-connection-upgrade   update-configuration | websocket | control-stream
//	cf-cloudflared-proxy-src                  anything: a TCP stream to :authority
//
// An answer carries the origin's headers in one value, so that HTTP/2 libraries in between cannot touch them, and says
// who speaks:
//
//	cf-cloudflared-response-headers   block = item *( ";" item ), item = b64(name) ":" b64(value)
//	cf-cloudflared-response-meta      {"src":"origin"} | {"src":"cloudflared"} | ... ,"flow_rate_limited":true
//
// b64 is the standard alphabet without padding. The package is pure: no network, no goroutine, no state.
package h2head
