// Package resolve asks name servers for the edge's records and turns the answers into regions of edge addresses. It is
// the only importer of the DNS library in this service.
//
// A Client holds no state between calls, starts no goroutine that outlives one, and is safe for concurrent use.
package resolve
