//go:build !unix

package sysinfo

// kernel knows nothing on systems without uname.
func kernel() (name, release string, err error) { return "", "", nil }
