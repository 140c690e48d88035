// Package catalog is the durable list of tunnels and routes of one edge: a JSON file that is replaced atomically and
// synchronised to disk before a change is acknowledged, and an index in memory that readers share.
//
// It starts no goroutine. A Catalog is safe for concurrent use; one process owns the directory, by a lock on it.
package catalog
