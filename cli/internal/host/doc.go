// Package host is what a connector tells its host and takes from it: the pid file, the messages of the service manager, and the
// commands on standard input (docs/spec/lifecycle.md 3.5, 10.4).
//
// The runners of this package are used by one goroutine each.
package host
