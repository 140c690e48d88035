// Package resolve queries name servers for the edge's records and turns the responses into regions of edge addresses. It is
// the only importer of the DNS library in this service.
//
// A Client holds no state between calls, starts no goroutine that outlives one, and is safe for concurrent use.
package resolve
