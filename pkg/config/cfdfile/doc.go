// Package cfdfile reads cloudflared's config.yml: the ingress document, the tunnel's name, and every other top-level key as
// the value of the flag of that name (docs/spec/ingress.md 2, docs/spec/lifecycle.md 11.2).
//
// It validates nothing that package ingress validates, applies no flag and starts no goroutine. It wraps the YAML library,
// whose types never leave it. All functions are safe for concurrent use.
package cfdfile
