// Package localrules reads the ingress rules that a proxy has of its own: from a cloudflared config.yml, or for one origin named
// in the proxy's settings (docs/spec/ingress.md 5).
//
// It starts no goroutine and keeps no state.
package localrules
