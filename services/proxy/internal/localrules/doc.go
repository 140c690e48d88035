// Package localrules reads the ingress rules that a proxy has of its own: from cloudflared's config.yml, for all tunnels or for one each,
// or for one origin named in the proxy's settings (docs/spec/ingress.md 5), and again when the files change (D22).
//
// It starts no goroutine and keeps no state.
package localrules
