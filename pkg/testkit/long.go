package testkit

import (
	"os"
	"testing"
)

// longVariable is the environment variable that switches on the tests that `make test` leaves out.
const longVariable = "CULVERT_TEST_LONG"

// Long marks a test that takes too long for `make test`: it skips the test with a reason unless CULVERT_TEST_LONG is
// 1, which `make test-long` sets. why says what takes the time, as in "waits for a lease to expire".
func Long(t testing.TB, why string) {
	t.Helper()
	if !long() {
		t.Skipf("long test, run it with %s=1 or `make test-long`: %s", longVariable, why)
	}
}

// LongCount is how often a test repeats something, such as runs with random faults: few in `make test`, all in `make test-long`.
func LongCount(few, all int) int {
	if long() {
		return all
	}
	return few
}

func long() bool { return os.Getenv(longVariable) == "1" }
