// Package decide has the decisions of load balancing between the origins of a rule (docs/balancing.md): which origin gets the next attempt,
// what the results of health checks mean, and whether a failed attempt may be repeated.
//
// It is pure: it knows no clock and no random source, and its values are safe for concurrent use only where callers lock.
package decide
