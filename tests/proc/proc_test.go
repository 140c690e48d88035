package proc_test

import (
	"os"
	"testing"

	"github.com/culvert-tunnel/culvert/tests/proc"
)

// TestOwnProcess: the figures of a process that runs are there, and those of none are an error.
func TestOwnProcess(t *testing.T) {
	before, err := proc.CPUTime(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	for sum, i := 0, 0; ; i++ { // until the clock of processor times has moved
		sum += i * i
		after, err := proc.CPUTime(os.Getpid())
		if err != nil {
			t.Fatal(err)
		}
		if after > before {
			break
		}
	}
	if n, err := proc.ResidentBytes(os.Getpid()); err != nil || n < 1<<20 {
		t.Errorf("resident: %d bytes, %v", n, err)
	}
	if _, err := proc.CPUTime(-1); err == nil {
		t.Error("the processor time of no process was read")
	}
	if _, err := proc.ResidentBytes(-1); err == nil {
		t.Error("the memory of no process was read")
	}
}
