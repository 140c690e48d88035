// Package filewatch reads files that a setting or a configuration names, and reads them again when they change: certificates,
// keys, CAs, tokens, passwords, credentials.
//
// ReadRegular reads one file, safely: only a regular file, with a bound, without blocking on a FIFO or a device. A Watcher compares
// the content of sets of files with what it last saw, every few seconds and whenever Check is called (on SIGHUP, for example).
// It polls, because notifications do not exist on network mounts and get lost when a directory is swapped by a symbolic link, and a
// few small files cost nothing. A set is read consistently, so that a certificate never meets the key of another. A set that
// cannot be read or applied leaves the former value in force; the owner of the Watcher gets one Event, and logs it.
//
// A Watcher starts no goroutine: Run is its loop. It is safe for concurrent use; Apply functions run one at a time.
package filewatch
