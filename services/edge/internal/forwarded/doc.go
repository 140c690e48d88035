// Package forwarded finds the visitor behind trusted proxies (docs/adr/0019).
//
// A trusted proxy is one whose address the operator listed in public.trusted_proxies. What it states about the visitor
// counts, what anybody else states does not. The list of addresses that proxies append to is therefore read from its end:
// the visitor is the first address from the right that is not a trusted proxy, regardless of the addresses to its left.
//
// The package is pure.
package forwarded
