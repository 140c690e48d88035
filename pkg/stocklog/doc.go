// Package stocklog writes the log lines of a connector as cloudflared writes them: its messages, levels, keys, and the forms of its
// console and of its files (docs/spec/logs.md; docs/spec/lifecycle.md 10.5). Programs that read the lines of cloudflared read these.
//
// Rows is the contract: one row for each message that the parts of a connector log. Translate applies it to one record, without
// clock and without side effect. Handler is a slog.Handler on top of it, for the process that has all parts.
package stocklog
