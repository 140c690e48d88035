// Package api has the handlers of a supervisor's part of the ops API. Package opsapi has the table by which they are mounted, and the
// JSON that they exchange.
//
// Every supervisor reads the store for each request, so any of them responds alike. While the store is unavailable a response is made of
// what was read last, and says since when it may be out of date. Run owns the goroutines, and
// waits for them; an API may be used by several.
package api
