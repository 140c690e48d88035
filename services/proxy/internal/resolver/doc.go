// Package resolver is the DNS service of private networks: a reserved address that stands for the resolver of this host, so
// that a private network can use it without knowing where it is (docs/spec/ingress.md 9.3).
//
// Which resolver that is comes from a fixed list, of which each flow gets one at random, or from the system's resolv.conf,
// which is read at the start and every five minutes; while it cannot be read, or names no server, the last resolver stays.
//
// Run owns the only goroutine, its caller's. All methods are safe for concurrent use.
package resolver
