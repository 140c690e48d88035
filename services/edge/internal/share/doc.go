// Package share bounds what peers may hold of a resource: a bound on all of them together, and below it a share for each
// key, so that one peer cannot use up the whole resource. A key is a tunnel, or the network of an address (Network).
//
// Counter counts amounts: bytes, flows. Table holds entries; one that is not pinned is pending, and under pressure the oldest
// pending entry is evicted to make room for a new one. The package is pure: it has no clock, no lock and no goroutine. Callers
// serialise the calls on one value, and close what was evicted.
package share
