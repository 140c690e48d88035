// Package router holds the live ingress rules: for each tunnel with rules of its own, and for all others together, an immutable
// snapshot of rules and their origins behind one atomic pointer, so that a request takes no lock and keeps the snapshot it began with.
//
// A swap is all or nothing and concerns one tunnel. It reuses the origins of unchanged services with their pools, and closes the idle
// connections of those that fell out (docs/spec/ingress.md 12.3, D23). Tunnels share no origin, so that the connections and faults of
// one never limit another. It owns no goroutine; all methods are safe for concurrent use.
package router
