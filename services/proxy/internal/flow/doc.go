// Package flow serves flows: it reads the ConnectRequest at the head of a flow, builds the request that the origin gets,
// runs it, and writes the ConnectResponse and the body back (docs/spec/wire.md 5.3 to 5.5, docs/spec/ingress.md 7).
//
// A Handler owns no goroutine: a flow runs on its caller's. It ends each flow in one of three ways: the whole response and
// FIN; an error response before any head; or an abort. A short response is never ended by FIN.
//
// The wire's own form has no place for trailers and interim responses, so they are left out, unless the edge says that it
// takes them (docs/extensions.md). A Handler is safe for concurrent use; all other types belong to one flow.
package flow
