package former

import (
	"strconv"

	"github.com/culvert-tunnel/culvert/pkg/fleet"
)

// Of is Self of a process that this one sees.
func Of(pid int) fleet.Process {
	p := Self()
	s, err := statOf(strconv.Itoa(pid))
	if err != nil {
		return fleet.Process{}
	}
	p.PID, p.Start = pid, s.start
	return p
}
