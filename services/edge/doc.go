// Package edge is the far end of the tunnel: it accepts connectors (Culvert's and stock cloudflared), checks their
// registration against the tunnels it knows, faces the public with HTTP, carries each request to a connector of the
// right tunnel, and serves the DNS records by which connectors find it.
//
// It requires no extension from a connector, and does not depend on origins, workers or Redis. New opens listeners and
// files and starts nothing; Run owns every goroutine and returns when all of them ended.
package edge
