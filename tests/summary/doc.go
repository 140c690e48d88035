// Command summary reads the output of `go test -json` from its standard input and prints what a person wants to know:
// the line of each package as `go test` prints it, the output of each failed test, and at the end the tests that were
// skipped with their reasons, and the slowest tests. It exits with 1 when a test or a build failed, or when there was
// no result at all.
package main
