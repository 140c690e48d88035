// Package dnstest is a real name server on the loopback for tests: UDP, TCP and TLS, with a zone that a test can change
// and failures that it can switch on. The server ends with its test, which waits for its goroutines.
package dnstest
