// Package backlog aborts responses whose visitors read nothing, before they stop all other streams of a connection.
//
// What a visitor does not read stays in the flow-control window of the connector's connection, which all its streams
// share: once the window is full no response makes progress, however fast other visitors read. A Watch therefore tracks the
// responses that wait for their visitors, and how much of the window each may take at most. When those of one
// connection may take more than half of it, the ones that have waited longest are aborted (package evict decides).
// Otherwise a visitor may pause for as long as the other limits allow (docs/adr/0015).
package backlog
