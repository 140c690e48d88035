// Package logkey names every attribute of a log line, so that one thing has the same name in every line, in JSON, in the
// records of the store and in the labels of metrics. The linter refuses a literal key.
//
// It holds constants only.
package logkey
