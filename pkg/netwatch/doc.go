// Package netwatch tells when the network of this host changed: on Linux when an address or a route comes or goes (netlink), and everywhere
// when the host slept. Package look decides how changes become looks.
//
// Run owns its goroutines and ends them with its context.
package netwatch
