// Package control is a worker's side of the control path: its registration in the store and its drain (package register), the hints that
// wake other processes, and whether the store is available.
//
// Registrar.Run owns the goroutines of its calls and waits for them. All types are safe for concurrent use.
package control
