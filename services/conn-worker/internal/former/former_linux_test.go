package former_test

import (
	"os/exec"
	"testing"

	"github.com/culvert-tunnel/culvert/pkg/fleet"
	"github.com/culvert-tunnel/culvert/pkg/testkit"
	"github.com/culvert-tunnel/culvert/services/conn-worker/internal/former"
)

// TestEnded: a real process has ended when it was killed, even before its parent took note, and nothing is claimed of one that may run.
func TestEnded(t *testing.T) {
	self := former.Self()
	if self.Boot == "" || self.PID == 0 || self.Start == 0 {
		t.Fatalf("this process is not known: %+v", self)
	}
	if former.Ended(self, self) {
		t.Error("this process has ended")
	}
	earlier := self
	earlier.Start--
	if !former.Ended(self, earlier) {
		t.Error("a process that had this one's number runs")
	}
	cmd := exec.Command("sleep", "600")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	child := former.Of(cmd.Process.Pid)
	if former.Ended(self, child) {
		t.Errorf("%+v has ended", child)
	}
	for name, p := range map[string]fleet.Process{
		"another boot":      {Boot: "x", Namespace: child.Namespace, PID: child.PID, Start: child.Start - 1},
		"another namespace": {Boot: child.Boot, Namespace: "pid:[1]", PID: child.PID, Start: child.Start - 1},
		"no start":          {Boot: child.Boot, Namespace: child.Namespace, PID: child.PID},
		"nothing":           {},
	} {
		if former.Ended(self, p) {
			t.Errorf("%s: it is claimed that %+v has ended", name, p)
		}
	}
	if former.Ended(fleet.Process{}, child) {
		t.Error("a process that does not know itself knows others")
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, "the killed process has ended", func() bool { return former.Ended(self, child) })
	_ = cmd.Wait() // it was killed
	if !former.Ended(self, child) {
		t.Error("the process is gone, and has not ended")
	}
}
