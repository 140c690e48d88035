// Package storetest is the contract of redisstore as tests: one body that the embedded store and every real server must
// pass. It is imported by tests only.
//
// The tests use tunnels, pools and roles of their own random names, so they can share a server with others. They wait for
// conditions and never for a time. Run starts no goroutine that outlives it.
package storetest
