// Package harness starts the built binaries as a user does, for the suites with real programs. They need `make build` first. It also
// has the edge's part towards a connector, for the suites with small edges of their own.
package harness
