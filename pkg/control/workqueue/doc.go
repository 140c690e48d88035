// Package workqueue says which tunnels a supervisor looks at next: those that were marked, those where something is on its way, and all
// others slowly. A tunnel that cannot be read waits longer with each failure, and never delays another one.
//
// Pure: the time comes in. A Queue is not safe for concurrent use.
package workqueue
