// Package opener makes the origins of ingress rules: it builds their HTTP clients and byte streams, reads the CA files that rules
// name, and decides how each is dialled (docs/spec/ingress.md 6, 7.2).
//
// The goroutines of a connection pool belong to its connections and end with them. All methods are safe for concurrent use.
package opener
