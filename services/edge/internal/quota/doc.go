// Package quota puts the bounds of package share to use: it adds a lock and the metrics culvert_edge_quota_*, which show for
// each resource how much is used, by how many keys, and how often a request was refused or an entry evicted.
//
// It starts no goroutine. Everything is safe for concurrent use.
package quota
