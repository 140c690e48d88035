// Package placement chooses the worker that gets a slot: it spreads the indices of a connector over workers, then over
// hosts, then evens out the load of all connectors, and moves as little as possible.
//
// Pure functions of their arguments.
package placement
