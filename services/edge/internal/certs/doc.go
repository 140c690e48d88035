// Package certs is the edge's own certificate authority: a root that is made once and kept in the data directory, and
// leaves that live in memory and are issued anew before they expire.
//
// It starts no goroutine: a leaf is renewed by the handshake that finds it old. An Authority is safe for concurrent
// use.
package certs
