// Package dial makes sessions to edge addresses. It remembers the local port of each connection index, so that a
// connection that is dialled again comes from the same address (docs/spec/wire.md 4).
//
// It starts no goroutine. A Dialer is safe for concurrent use.
package dial
