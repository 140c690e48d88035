// Package faultgate limits how often a repeated fault is logged (docs/spec/ingress.md D21).
//
// It starts no goroutine. A Gate is safe for concurrent use.
package faultgate
