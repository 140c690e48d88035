// Package resolve queries name servers for the edge's records and turns the responses into regions of edge addresses. It is
// the only importer of the DNS library in this service.
//
// Between calls a Client holds one breaker per server, and the last address of each static entry. It starts no goroutine that outlives a
// call. Text and Reset are safe for concurrent use, beside one call of Static or Regions.
package resolve
