// Package keeper keeps the leases of a worker's tunnels: one keeper per tunnel runs the machine of package keep, makes its calls to the
// store, and starts one holder (package conn) per granted slot. The transport of each connection is chosen by package protocol.
//
// While the store is unavailable, holders keep their sessions and dial lost ones again. Run owns every goroutine and waits for
// them. A Set is safe for concurrent use.
package keeper
