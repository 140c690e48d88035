// Package engine runs processes in virtual time: one goroutine, one queue of events in a stable order, one random stream per process.
// The same seed gives the same run, to the byte of its trace.
//
// Nothing here knows what is simulated. Package sim puts a network, a store and the programs of a deployment on top.
package engine
