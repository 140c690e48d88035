// Package cluster tests supervisors and workers together in one process: several of each share an embedded store and
// hold real QUIC and HTTP/2 sessions to small edges on the loopback address. The tests run in parallel, because they
// mostly wait. Package system tests whole deployments with real processes.
package cluster
