// Package duplex copies bytes both ways between the edge and an origin, each direction until its own end
// (docs/spec/ingress.md D10): the end of one is passed on, the other goes on, with a limit on how long it may then be silent; a failure resets
// both.
//
// Run uses two goroutines, the caller's and one more that it waits for. A direction that has little to say holds a small
// buffer, a busy one a large one. A Copier is safe for concurrent use; an End belongs to one Run.
package duplex
