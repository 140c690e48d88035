// Package rules has the versions of a tunnel's configuration that operators put in force through the store: what a version is,
// which of two is the newer one, how a document is sealed for the store, and what two documents differ in.
//
// The order is that of Position, and is the same on every proxy: the version of the edge's push that a document was made on top of,
// then the number that the store gave it. A proxy takes what is newer than what it has and nothing else, so it never goes back,
// whatever is lost, sent twice, or comes in another order.
//
// The store holds documents only sealed: a reader of the store learns no password of a rule, and who can write to the store, but
// does not have the key, cannot put rules in force.
//
// Pure: no clock, network or log.
package rules
