// Package logtail carries the log lines of a process to the clients of the management service (docs/spec/lifecycle.md 10.6).
//
// A Queue listens to the tap of a logger (package telemetry), translates what its filters let through into lines, and keeps them for
// whoever sends them. A Relay is the part of a process that sends its lines to log streams that another process of the connector serves:
// it reads from the store who listens, and publishes lines there. Nothing of a line is kept in the store.
//
// Run of a Relay owns its goroutines.
package logtail
