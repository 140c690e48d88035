// Package ingress decides which origin service a request goes to.
//
// It turns a decoded configuration (a Document: the ingress list, the originRequest defaults, the warp-routing object) into
// an immutable Set of compiled rules, or into the error text an operator knows from the reference (docs/spec/ingress.md 2 to 5);
// it matches host and path against the rules (4), evaluates ipRules (10), and prints the canonical JSON forms (2.7, 12.5).
// Every setting of a compiled rule is resolved: built-in default, then top level, then the rule, the last one present wins.
//
// It opens nothing, dials nothing, reads no file and no clock, and starts no goroutine. Besides the standard library it
// imports golang.org/x/net/idna, the one exception to the rule for pure packages: host names with letters outside ASCII have
// a second form that only the IDNA tables can compute, and no standard package offers them.
//
// A Set and everything in it is never changed after Compile, so that any number of goroutines may use it without a lock; a
// new configuration is a new Set.
package ingress
