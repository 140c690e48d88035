// Package adminclient speaks the edge's admin API: tunnels, routes and connections, over a Unix socket or over TLS
// with a bearer token. It also defines the API's documents, so that server and client cannot drift apart.
//
// A Client is safe for concurrent use and starts no goroutine of its own.
package adminclient
