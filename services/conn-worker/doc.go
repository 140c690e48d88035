// Package connworker is a conn-worker: it registers itself, takes the leases that are granted to it, holds one edge
// session per leased slot, and hands every stream to a proxy. It knows no ingress rules and keeps nothing on disk.
//
// The data path needs nothing from the store: while that is away, sessions stay, and a session that drops is dialled
// again by the same worker for the same slot. A session ends because the network ended it, because of this worker's own
// drain, or because a newer epoch of its slot was seen; never because the store did not answer.
//
// One keeper per tunnel renews leases and reconciles its slots with what is granted; one holder per slot (internal/conn)
// runs the lease machine. Run owns every goroutine and waits for them. A Service is safe for concurrent use.
package connworker
