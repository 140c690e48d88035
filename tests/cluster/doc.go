// Package cluster tests supervisors and workers together, inside one test process: several of each meet in an embedded
// store, and hold real QUIC sessions to small edges on the loopback. What a whole deployment does is in package system.
package cluster
