// Package rundir is the directory of the Unix sockets of one user's processes: those of the link between workers and proxies, and those
// for changes from this host. No other user may write to it.
package rundir
