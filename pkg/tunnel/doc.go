// Package tunnel is the vocabulary that every other package speaks: identities of tunnels, connectors, workers and
// proxies, connection indices, epochs, edge addresses, credentials, and the sentinel and typed errors.
//
// It does no I/O, reads no clock, logs nothing and imports the standard library only. All types are plain values and
// safe for concurrent use.
package tunnel
