// Command culvert is the whole system in one process: the demo, the drop-in for the reference connector, the services one by
// one, and the operator's commands.
//
// It has no behaviour of its own beyond composing; see internal/command for the commands and internal/stack for the
// composition.
package main
