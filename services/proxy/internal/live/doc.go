// Package live keeps the configuration in force: the local one at first, then what the edge pushes, version by version
// (docs/spec/ingress.md 12). A push that cannot be applied leaves everything as it was, and a version never goes back.
//
// It starts no goroutine. All methods are safe for concurrent use.
package live
