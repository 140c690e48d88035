// Package chaos breaks a deployment of real processes on purpose: Redis, the edge, discovery, supervisors, workers and proxies, under load.
// A run is one scenario: set-up, fault, and what was measured, each value beside its bound (docs/failures.md).
//
// What is here without a build tag is pure: the timeline of the sessions that an edge shows, and the report. The scenarios have the
// build tag "chaos" and need the binaries of `make build`. They run in network and process namespaces of their own, so that nothing outside
// is touched and nothing is left when they end.
package chaos
