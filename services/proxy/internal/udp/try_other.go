//go:build !unix

package udp

import "syscall"

// trier has no way to write without waiting here: every write has a deadline.
func trier(syscall.RawConn) func(p []byte) error { return nil }

// rawReceiver has no way to read without waiting here: each session holds a buffer.
func rawReceiver(syscall.RawConn) func(take func(p []byte)) error { return nil }
