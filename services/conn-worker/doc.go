// Package connworker is a conn-worker: it registers itself, accepts the leases that are granted to it, holds one edge session per
// leased slot, and hands every stream to a proxy. It knows no ingress rules and keeps nothing on disk.
//
// The data path does not need the store: while it is unavailable, sessions stay, and the same worker dials a lost session again
// for the same slot. A session ends because the network ended it, because this worker drains, or because a newer epoch of its slot
// exists; never because the store does not respond.
//
// A Service composes the parts: internal/control registers the worker, internal/keeper keeps the leases and runs one holder
// (internal/conn) per slot, internal/dial makes the sessions, internal/relay and internal/udp carry streams and datagrams,
// internal/push finds the proxies and sends them configurations. Run owns every goroutine and waits for them. A Service is safe for
// concurrent use.
package connworker
