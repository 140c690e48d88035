// Package quota shares one limit among several processes, by leases: each has a share that it may use without asking anybody, and renews it
// before it runs out (docs/spec/lifecycle.md 9 and 14.4). The store carries out the script quota.lua; Table is the same rule in Go, with
// which the script is compared and of which the simulation is made.
//
// What holds: the shares that are recorded never add up to more than the limit, so neither do the places in use, except for these. A
// process that has not heard of the store yet has a small share of its own (Initial). One that is cut off from the store keeps its last
// share, but after twice the lease only the places that it last reported are kept for it, so that it and the others may together have
// more, by at most the rest of its share. A store that lost its records gives no process more than it has until all had the time to renew
// (Settle).
//
// Pure: no clock, network or log.
package quota
