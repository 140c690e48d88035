// Package sysinfo describes the machine that a connector runs on, in the form of the reference's /diag/system
// (docs/spec/lifecycle.md 10.2). What cannot be found out is an entry among the errors, and no failure of the whole.
package sysinfo
