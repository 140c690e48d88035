// Package admin is the edge's API for operators: tunnels, routes and connections, as JSON over HTTP. The file mode protects the
// Unix socket; the TCP listener speaks TLS and requires a bearer token. Package adminclient defines the documents; errors are problem
// documents (RFC 9457).
//
// New binds the listeners; Run owns the servers' goroutines.
package admin
