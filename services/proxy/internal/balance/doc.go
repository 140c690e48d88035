// Package balance spreads the requests of a rule over several origins (docs/balancing.md).
//
// A Hub holds the members: one origin each, with its health checks, its circuit breaker and its number of requests in progress. A member is
// shared by all groups that use the same service with the same settings, and stays when a new version of the rules uses it again, so health
// survives a swap. A Group is the origins of one rule. Decisions are in package decide.
package balance
