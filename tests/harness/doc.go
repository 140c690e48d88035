// Package harness starts the built binaries as a user does, for the suites with real programs. They need `make build` first.
package harness
