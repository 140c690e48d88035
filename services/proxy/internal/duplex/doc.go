// Package duplex copies bytes both ways between the edge and an origin, each direction until its own end
// (docs/spec/ingress.md D10). When one direction ends, its end is passed on and the other continues, with a limit on how long it
// may be silent. A failure resets both.
//
// Run uses two goroutines, the caller's and one more that it waits for. A quiet direction holds a small
// buffer, a busy one a large one. A Copier is safe for concurrent use; an End belongs to one Run.
package duplex
