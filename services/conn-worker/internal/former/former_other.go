//go:build !linux

package former

import "github.com/culvert-tunnel/culvert/pkg/fleet"

// Self is unknown on this system.
func Self() fleet.Process { return fleet.Process{} }

// Ended knows nothing on this system.
func Ended(fleet.Process, fleet.Process) bool { return false }
