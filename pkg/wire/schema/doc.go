// Package schema holds the Cap'n Proto schema of the connector <-> edge protocol (edge.capnp, docs/spec/wire.md 6) and the
// Go code generated from it. Only package rpc and tests use it: package stream has its own codec.
//
// The generator is capnpc-go of the library's own version, which must be on PATH together with the capnp compiler. The
// library's module provides go.capnp. Schema registration and String methods are left out: they would embed the
// compiled schema in every binary and run at start-up, for reflection that nothing uses.
//
// Generated types are views into a message and share its concurrency rules: any number of readers, or one writer.
package schema

//go:generate sh generate.sh
