// Package registration tells workers where a proxy is: it keeps the proxy's record in the store alive, marks it before a drain
// and removes it at the end. A store that is unavailable never stops a proxy.
//
// It starts no goroutine. A Registration is used by one goroutine at a time.
package registration
