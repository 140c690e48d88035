// Package monitor is the metrics listener of a connector: the paths of the reference (docs/spec/lifecycle.md 10.2) beside those
// of package ops. It chooses the address, and shows what the parts of the connector say about themselves.
package monitor
