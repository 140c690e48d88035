// Package diag collects what helps to find out why a connector on this host does not work, and writes it into one zip file with the
// names that the reference uses (docs/spec/lifecycle.md 12.1). It asks the metrics listener of a connector, ours or stock, reads its
// logs, and looks at the network.
//
// Everything goes through package scrub before it is written. Run waits for all goroutines that it starts.
package diag
