// Package telemetry builds what every process observes itself with: the structured logger and the Prometheus registry.
// It also owns the attribute keys, so that the same thing has the same name in every log line, record and label.
//
// It starts no goroutine and keeps no global state; loggers and registries are handed out and injected.
package telemetry
