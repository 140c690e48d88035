// Package register is a worker's registration in the store as a state machine: when the record is written, who is woken, and the course
// of a drain from the announcement to the removal of the record.
//
// Pure: time is an argument, actions are values. The worker's registrar (services/conn-worker) executes them.
package register
