// Package crashmark remembers on disk which configuration a process is about to apply, so that one that ends the process (it may take
// all memory) is not applied at each start for ever.
//
// It starts no goroutine. A Marks is used by one goroutine at a time, and its directory by one process at a time.
package crashmark
