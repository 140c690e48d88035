package link

import "github.com/culvert-tunnel/culvert/pkg/rundir"

// DefaultSocketDir is the directory where the processes of one user put the Unix sockets of the link when nothing else is
// configured. It may not exist; see MakeSocketDir.
func DefaultSocketDir() string { return rundir.Default() }

// MakeSocketDir creates the default directory, for its owner alone. The error wraps rundir.ErrShared when another user has created it or
// may change it.
func MakeSocketDir() (string, error) { return rundir.Make() }

// IsPrivateDir reports whether path is a directory that no other user may change.
func IsPrivateDir(path string) bool { return rundir.IsPrivate(path) }
