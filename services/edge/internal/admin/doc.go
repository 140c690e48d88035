// Package admin is the edge's API for operators: tunnels, routes and connections, as JSON over HTTP. The file mode
// guards the Unix socket, a bearer token the TCP listener. Documents are those of package adminclient, errors are
// problem documents (RFC 9457).
//
// New binds the listeners; Run owns the servers' goroutines.
package admin
