// Package look decides when a process looks early: after a change of the addresses or routes of its host, and after the host slept, waits
// and pauses that were meant for the former network are worth nothing. Groups of changes lead to one look, with jitter, at most every 30 s.
//
// Pure: time and randomness come in. Package netwatch has the sources of changes.
package look
