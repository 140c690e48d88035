// Package scrub removes secrets from what others wrote: log lines and JSON documents that go into a diagnostic bundle. They may come
// from a program that masks nothing, such as cloudflared at log level debug, so it goes further than package redact: it also masks
// headers, values with the name of a secret in any notation, private keys, and the secrets that the caller knows.
//
// It errs on the side of masking: a word that is lost from a log line costs less than a secret that leaves the host.
//
// The package is pure.
package scrub
