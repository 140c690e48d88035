//go:build !linux

package link

// canWatch says that the system can report a hang-up without a read.
const canWatch = false

func hasHangUp(uintptr) bool { return false }

// hasInput cannot tell: an idle connection that died is found when it is used.
func hasInput(uintptr) bool { return false }
