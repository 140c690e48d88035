package sim

import (
	"os"
	"runtime/debug"
	"testing"
)

// TestMain makes the garbage collector rest more: a run allocates much and keeps little.
func TestMain(m *testing.M) {
	debug.SetGCPercent(400)
	os.Exit(m.Run())
}
