// Package pass is a supervisor without its I/O: it takes and keeps the lead, says what to read of the store and in which order, plans
// (package plan) what to grant and to release, and says when to look again. It remembers what must survive a loss of the store: the
// connector ids, the pools, the health of edge addresses.
//
// Pure: events and the time go in, actions come out. At most one call of the store is outstanding. The caller carries the
// actions out in their order and hands the reply of each call back as an event.
package pass
