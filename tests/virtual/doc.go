// Package virtual runs the real supervisors, workers and discoveries with the real scripts of the store in virtual time: everything that
// waits is inside a testing/synctest bubble, the store is reached over pipes and the edges over sessions in memory. Hours pass in
// seconds, so that what is wired or locked wrongly shows. tests/sim decides with the same machines, but has no goroutines.
package virtual
