// Package fleet describes the processes of a deployment as records: which workers exist, what they can carry, and
// where the proxies listen.
//
// Plain data and pure functions: no clock, no network, no goroutine.
package fleet
