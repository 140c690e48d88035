// Package command is the codec of the store: for each operation the command with its keys and arguments, and what its reply
// means. A caller sends the command to a Redis, or to anything that behaves like one, and gives the reply to Decode. The scripts
// are embedded here; keys.go has the table of keys.
//
// Pure: no clock, no network, no goroutine. A Request is a value and may be decoded at any time, also more than once.
package command
