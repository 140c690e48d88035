// Package sim runs whole deployments (supervisors, workers, discoveries, edges and a store) in virtual time from one seed, breaks them
// by a plan of faults, and checks after every step what must always hold. The same seed gives the same run, to the byte of its trace.
//
// Run makes one run. The programs of the processes are the pure machines of pkg/control behind thin actors (worker.go, supervisor.go,
// discovery.go); the store runs the real scripts (memstore); edges and the network are models. docs/simulation.md explains how to read
// a run and what was found.
package sim
