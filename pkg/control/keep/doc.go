// Package keep is the keeper of one tunnel in one worker as a state machine: it identifies the connector, decides when to renew the
// leases, when to read the edge pool and what to report, makes the holders of the slots follow the records of the store, and keeps
// what the worker knows of addresses and transports.
//
// Pure: time is an argument, actions are values, and randomness comes in. The worker's keeper (services/conn-worker) executes the
// actions with goroutines.
package keep
