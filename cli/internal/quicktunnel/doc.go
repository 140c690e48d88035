// Package quicktunnel asks a quick service for a tunnel without an account (docs/spec/lifecycle.md 11.4).
//
// The service returns credentials and a host name. The tunnel lives about as long as the process that asked for it.
package quicktunnel
