// Package retain is a replica of discovery without its I/O: it takes and keeps the lead of one pool's name, says when to look the edge up
// and what to publish of it, and remembers the pool that is in force. A failed lookup changes nothing but the time of the next one, and a
// record that could not be read stays as it was published. That a pool of less regions does not replace a good one is decided where two
// replicas meet: in the store's script.
//
// Pure: events and the time go in, actions come out. At most one call, or lookup, is outstanding. The caller carries the
// actions out in their order and hands the reply of each call back as an event.
package retain
