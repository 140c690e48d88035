// Package certs is the edge's own certificate authority: a root that is made once and kept in the data directory, and
// leaves that are kept in memory and replaced before they expire.
//
// It starts no goroutine: the handshake that needs an old leaf replaces it. An Authority is safe for concurrent
// use.
package certs
