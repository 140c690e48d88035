package former

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"

	"github.com/culvert-tunnel/culvert/pkg/fleet"
)

// Self says which process of which host this one is; the zero value where that cannot be known.
func Self() fleet.Process {
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return fleet.Process{}
	}
	space, err := os.Readlink("/proc/self/ns/pid")
	if err != nil {
		return fleet.Process{}
	}
	s, err := statOf("self")
	if err != nil || s.pid != os.Getpid() {
		return fleet.Process{} // /proc may be that of another namespace, where the numbers are others
	}
	return fleet.Process{Boot: strings.TrimSpace(string(boot)), Namespace: space, PID: os.Getpid(), Start: s.start}
}

// Ended reports whether p, which self knows of, has ended for certain: it ran on this host since its boot, among the processes that self
// sees, and its number is free or belongs to another one.
func Ended(self, p fleet.Process) bool {
	if self == (fleet.Process{}) || p.PID <= 0 || p.Start == 0 || p.Boot != self.Boot || p.Namespace != self.Namespace {
		return false
	}
	if errors.Is(syscall.Kill(p.PID, 0), syscall.ESRCH) { // /proc may hide the processes of other users, this does not
		return true
	}
	s, err := statOf(strconv.Itoa(p.PID))
	return err == nil && (s.start != p.Start || s.over())
}

func statOf(process string) (stat, error) {
	text, err := os.ReadFile("/proc/" + process + "/stat")
	if err != nil {
		return stat{}, fmt.Errorf("process %s: %w", process, err)
	}
	s, err := parseStat(text)
	if err != nil {
		return stat{}, fmt.Errorf("process %s: %w", process, err)
	}
	return s, nil
}
