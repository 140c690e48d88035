// Package hops reads what traceroute prints (docs/spec/lifecycle.md 12.1).
//
// The package is pure.
package hops
