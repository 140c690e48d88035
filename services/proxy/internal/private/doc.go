// Package private puts together what serves private networks: the dialer that applies the ip rules, the limit of flows, UDP
// sessions, ping, and the virtual DNS service (docs/spec/ingress.md 9, docs/udp.md).
//
// New starts nothing; Run and the flows own all goroutines, and Close waits for them. All methods are safe for concurrent use.
package private
