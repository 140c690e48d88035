// Package probe checks whether this host can reach an edge: that its names resolve, and that each address completes a QUIC handshake
// and a TLS handshake over TCP (docs/spec/lifecycle.md 12.2). Package precheck judges the results.
//
// A handshake uses the server name that edges reserve for checks, so an edge does not wait for a registration. No request is sent.
// Run waits for all goroutines that it starts.
package probe
