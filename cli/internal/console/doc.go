// Package console is what all commands of the command line share: arguments, environment and output of the process, and the texts
// for a command line that makes no sense.
//
// It is used by one goroutine at a time, except for the methods that print, which are as safe as the writers of the host.
package console
