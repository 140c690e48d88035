// Package connector reads what a user of the drop-in command line gives (settings, configuration file, credentials) and
// turns it into the configuration of the parts: which tunnel, which rules, which edge.
//
// It opens files but no socket, and starts no goroutine. Errors are one line each that says what is wrong and where.
package connector
