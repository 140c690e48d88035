// Package route decides which tunnel a public host belongs to: exact hosts before wildcards, longer wildcards before
// shorter ones, the catch-all last. It also parses and validates public ports, which are routes by address rather than by host.
//
// It does no I/O and reads no clock. A Table is immutable and safe for concurrent use.
package route
