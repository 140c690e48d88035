// Package transporttest is the contract of transport.Session and transport.Stream, which every adapter passes.
//
// It owns no goroutine that outlives a test. It is for tests only.
package transporttest
