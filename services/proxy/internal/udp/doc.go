// Package udp holds the UDP sessions of private networks: one connected socket each, which carries datagrams between the
// edge and one destination (docs/spec/wire.md 10 and 11, docs/spec/ingress.md 9.2). Workers reach it over datagram flows of the link
// (package packet).
//
// A Table holds the sessions of all flows, so that a session outlives the worker that it came through. A session ends
// when it is idle, when its socket fails, when its worker unregisters it, or when it has been without a flow for the orphan
// timeout. Its goroutine reads the socket; a second one runs only while the socket takes no more datagrams.
//
//	REGISTER   unknown id                       new socket
//	           known id, same destination       confirmed again; the flow it came on is the new way back
//	           known id, other destination      the old session is replaced
//	PAYLOAD    of any flow                      to the socket; an orphan takes the flow as its way back
//	flow ends                                   its sessions are orphans: up to 256 responses each wait for the next flow
//
// Nothing waits for a slow reader: what a flow's queue or a socket does not take is dropped, and counted by reason. A
// registration that fails gets REGISTERED with an error, or ENDED when no response was wanted.
//
// The Table owns all goroutines; Close waits for them. All methods are safe for concurrent use. Locks are taken in the
// order Table, session, flow.
package udp
