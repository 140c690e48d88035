// Package mem is a transport in memory: two sessions joined by bounded buffers, with the half-close, reset and
// datagram rules of the real ones. It waits on channels only and starts no goroutine, so it works inside
// testing/synctest bubbles.
package mem
