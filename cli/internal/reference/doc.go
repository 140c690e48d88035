// Package reference writes docs/reference from the code: every command, setting, metric and error code. It has tests
// only. `make generate` rewrites the files; without it the tests fail when a file does not say what the code says.
//
// Commands and settings come from the help texts of the programs themselves, metrics and error codes from the source.
package reference
