// Package relay accepts the streams of one edge session and hands them on: data streams to a carrier, RPC streams to the
// connector's handler, all others back with a reset (docs/spec/wire.md 5), datagrams to package udp. It does not look into requests.
//
// Serve owns one goroutine per stream and one for datagrams, and waits for them. A panic in a flow ends that flow only.
package relay
