// Package arch holds the rules of the tree as tests: which package may import which, who may wrap a third-party
// library, and that every package says what it is for. It has no code of its own.
package arch
