// Package redisstore keeps everything that the processes of a deployment coordinate: edge pools, leases of slots,
// registrations of workers and proxies, the leader leases, and hints. It is the only package that speaks Redis; what it says is
// made by package command.
//
// Each operation on shared state is one script (command/scripts/*.lua) or one command; scripts take the time from the server and
// compare explicit deadlines stored in the records, so no two wall clocks are compared and the precision of key TTLs does
// not matter. Every call is bounded in time; when Redis does not respond, the call fails with tunnel.ErrUnavailable.
//
// A Store is safe for concurrent use. Its goroutines (one per Watch, one ticker in the embedded form) end with Close,
// which waits for them.
package redisstore
