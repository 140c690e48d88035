// Package desired is what operators want of a deployment that runs: one document for each tunnel, marks of workers that are drained, and
// commands for single slots. It has their JSON, their limits, and how a process keeps what it read through a store that lost data.
//
// Documents have versions and are changed by compare-and-set. Versions only grow, also across a loss of data: a State never takes an
// older document for a newer one. Commands name the slot's epoch, so that the grant that carries one out can happen at most once.
//
// Pure: no clock, network or log. A State is not safe for concurrent use.
package desired
