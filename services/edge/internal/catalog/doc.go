// Package catalog is the durable list of tunnels and routes of one edge: a JSON file that is replaced atomically and
// synchronised to disk before a change is acknowledged, and an index in memory that readers share. What the file holds and
// which changes are allowed is the matter of package document.
//
// It starts no goroutine. A Catalog is safe for concurrent use; one process owns the directory, by a lock on a file in it.
package catalog
