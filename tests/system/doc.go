// Package system runs the built binaries as a user does, with real programs around them: nginx, git, a browser, Redis,
// containers. It needs `make build` first and the build tag "system"; a program that is not installed skips its test
// with a printed reason.
package system
