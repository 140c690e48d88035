// Package precheck judges the result of connectivity checks and writes it down: as the table and the log lines that cloudflared
// prints, and as JSON (docs/spec/lifecycle.md 12.2). The texts, names and numbers are a contract: log shippers and support bundles
// read them.
//
// The package is pure. Package probe makes the checks.
package precheck
