// Package limit bounds how many private-network flows run at a time: TCP streams and UDP sessions together
// (docs/spec/ingress.md 2.5 and 9). It starts nothing; all methods are safe for concurrent use.
package limit
