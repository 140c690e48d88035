// Package testkit holds what the tests of several packages share: waiting for a condition, certificates of a test CA,
// listeners and free ports on the loopback address, streams in memory, and the check for leaked goroutines.
//
// Only tests import it; a test in tests/arch fails otherwise. It imports no other package of this repository, so that
// the tests inside any package may use it. Every helper takes the test and fails it on an error. The helpers may be
// called from several goroutines, except those that end the test (the testing package allows that only in the test's
// own goroutine).
package testkit
