// Package tail is the client of a log stream: it asks the management service of a connector, ours or cloudflared, for log lines and
// prints them (docs/spec/lifecycle.md 10.6).
package tail
