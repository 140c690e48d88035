// Package dialer opens the sockets of private-network flows, TCP and UDP: reserved addresses, which services in this
// process have taken for themselves, are asked first, then the network (docs/spec/ingress.md 9.3). The settings are read at each
// dial, so a change of configuration counts from the next flow on and running flows keep their sockets.
//
// It starts nothing and keeps no socket. All methods are safe for concurrent use.
package dialer
