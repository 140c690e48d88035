//go:build unix

package sysinfo

import "golang.org/x/sys/unix"

// kernel gives the name of the system and the text about its build, as uname shows them.
func kernel() (name, release string, err error) {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return "", "", err
	}
	return unix.ByteSliceToString(u.Sysname[:]), unix.ByteSliceToString(u.Version[:]), nil
}
