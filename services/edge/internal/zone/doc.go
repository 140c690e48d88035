// Package zone is a small authoritative name server for one domain. It serves the SRV, A, AAAA and TXT records by which
// connectors find the edge (docs/spec/wire.md 2). It refuses queries for other domains and never recurses.
//
// New binds the sockets; Run owns the goroutines of both servers.
package zone
