// Package control is a worker's side of the control path: its registration in the store, the hints that wake other processes, and
// whether the store is available.
//
// Registrar.Run alone writes the registration, so that writes keep their order. It starts no goroutine. All types are safe for
// concurrent use.
package control
