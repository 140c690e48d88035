// Package push sends the configurations that an edge pushes to the proxies in other processes, and decides which proxies of the
// store a worker may use.
//
// A Pusher is safe for concurrent use. It starts no goroutine that outlives a call.
package push
