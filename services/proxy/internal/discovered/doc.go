// Package discovered adds the rules that providers find, such as those of containers, to the rules of the operator's own files. It is pure.
//
// The rules of a file come first, in their order, and its last one stays last; what was found stands between them (docs/docker.md). A
// fault in a rule leaves out that rule and no other.
package discovered
