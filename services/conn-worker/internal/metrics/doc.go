// Package metrics is the Prometheus metrics of a worker. It implements the observers of the other packages.
//
// It starts no goroutine. A Metrics is safe for concurrent use.
package metrics
