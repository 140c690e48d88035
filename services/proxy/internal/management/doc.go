// Package management is the management service of a connector (docs/spec/lifecycle.md 10.6): it responds to the requests for the
// management host, which belong to no rule of the operator, and streams log lines.
//
// A Service responds to plain requests as a handler of net/http and hands out a Stream for a websocket on /logs. Each Stream listens
// to the Tap of the proxy's logger (package telemetry) while it sends lines; it starts one goroutine, for reading, and waits for it.
package management
