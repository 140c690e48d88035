// Package remoteconfig defines the configuration push: an edge sends an Update to a connector and gets a Result back. Every
// implementation of a push, on either side, has the method
//
//	Apply(ctx context.Context, u remoteconfig.Update) (applied int32, err error)
//
// applied is the version in force afterwards. The error is nil when that version is u or a newer one, a *RejectedError when
// the receiver refused the document, and any other error when the result is unknown: the sender then tries again. Consumers
// declare the one-method interface Applier, because a pure package knows no context.
//
// The package also has the codec for the link between worker and proxy (link.KindConfig), and that for HTTP/2
// (docs/spec/wire.md 9.5). Over QUIC a push is an RPC, see package rpc. Everything is pure and keeps no reference to its input.
package remoteconfig
