// Package supervisor decides which worker holds which connection index of which tunnel, on which edge address: it
// compares what is desired (every tunnel that live workers can serve, with its number of connections) with what the store
// shows, and grants leases. It carries no traffic, and traffic that flows does not need it.
//
// Any number of supervisors may run. They share the tunnels; every grant is a compare-and-set in the store under a term that fences it.
// Decisions are pure: pkg/control/pass says what to read, to write and to wait for, and pkg/control/plan what to grant. The
// service carries it out. Run owns every goroutine and waits for them.
package supervisor
