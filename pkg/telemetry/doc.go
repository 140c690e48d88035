// Package telemetry builds the structured logger and the Prometheus registry of a process.
//
// It starts no goroutine and has no global state: the caller passes loggers and registries on. The keys of log attributes are in
// package logkey.
package telemetry
