// Package linktest is the contract of link.Carrier and link.Stream: what every carrier must do, whatever is between
// worker and proxy. It also has the visitor that the contract plays: an edge stream in memory.
//
// It owns no goroutine that outlives a test. It is for tests only.
package linktest
