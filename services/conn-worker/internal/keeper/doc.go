// Package keeper keeps the leases of a worker's tunnels: one keeper per tunnel renews its leases, and starts, updates and drains
// one holder (package conn) per granted slot. It also chooses the transport of each connection (package protocol).
//
// While the store is unavailable, holders keep their sessions and dial lost ones again. Run owns every goroutine and waits for
// them. A Set is safe for concurrent use.
package keeper
